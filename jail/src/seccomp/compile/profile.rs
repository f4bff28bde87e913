//! A profile's text becomes rules, or a refusal that names the rule.
//!
//! Rules are read from the top, the first that matches a call decides; a profile that extends another puts its own
//! rules first. Promises: every name is known, every rule says who needs it, and no rule stands behind one that
//! already decides all of its calls.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Refusal;
use super::condition::{Case, parse_case};
use super::tables::Tables;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Action {
    /// the kernel carries it out
    Allow,
    /// it fails with this error, 1 to 4095
    Errno(u16),
    /// the process ends as by SIGSYS
    Kill,
}

/// One rule, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// who needs it, for the reader
    pub(crate) who: String,
    pub(crate) action: Action,
    /// numbers
    pub(crate) calls: Vec<u32>,
    /// one of them must hold; none means always
    pub(crate) cases: Vec<Case>,
}

/// All rules of a profile, its parent's included.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// for every number that no rule decides
    pub(crate) unlisted: Action,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    unlisted: Option<String>,
    extends: Option<String>,
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    who: String,
    action: String,
    calls: Vec<String>,
    when: Option<Vec<String>>,
}

/// Reads one profile; `parents` are those read before.
pub(crate) fn parse(
    text: &str,
    tables: &Tables,
    parents: &BTreeMap<&str, Profile>,
) -> Result<Profile, Refusal> {
    let raw: RawProfile = toml::from_str(text).map_err(|e| Refusal(e.to_string()))?;
    let (unlisted, inherited) = match (&raw.unlisted, &raw.extends) {
        (Some(unlisted), None) => (parse_action(unlisted, tables)?, Vec::new()),
        (None, Some(name)) => {
            let parent = parents.get(name.as_str());
            let parent =
                parent.ok_or_else(|| Refusal(format!("extends {name:?}, which is no earlier profile")))?;
            (parent.unlisted, parent.rules.clone())
        }
        _ => return Err(Refusal("a profile has either `unlisted` or `extends`".into())),
    };
    let mut rules = Vec::new();
    for raw in &raw.rule {
        let rule = parse_rule(raw, unlisted, tables);
        rules.push(rule.map_err(|why| Refusal(format!("rule for {:?} ({:?}): {why}", raw.calls, raw.who)))?);
    }
    refuse_unreachable(&rules)?;
    rules.extend(inherited);
    Ok(Profile { unlisted, rules })
}

fn parse_rule(raw: &RawRule, unlisted: Action, tables: &Tables) -> Result<Rule, Refusal> {
    let refuse = |why: &str| Err(Refusal(why.to_owned()));
    if raw.who.trim().is_empty() {
        return refuse("`who` is empty: say who needs it");
    }
    if raw.calls.is_empty() || raw.when.as_ref().is_some_and(Vec::is_empty) {
        return refuse("`calls` or `when` is empty");
    }
    let mut calls = BTreeSet::new();
    for name in &raw.calls {
        let number =
            tables.calls.get(name).ok_or_else(|| Refusal(format!("{name:?} is not in x86_64.tbl")))?;
        if !calls.insert(*number) {
            return Err(Refusal(format!("{name:?} stands twice")));
        }
    }
    let left = raw.action == "unlisted";
    if left && raw.when.is_some() {
        return refuse("a rule that leaves calls unlisted has no `when`");
    }
    let action = if left { unlisted } else { parse_action(&raw.action, tables)? };
    if !left && raw.when.is_none() && action == unlisted {
        return refuse("does what happens to unlisted calls anyway: say `unlisted`");
    }
    let lines = raw.when.as_deref().unwrap_or_default();
    let cases = lines.iter().map(|line| parse_case(line, &tables.constants)).collect::<Result<_, _>>()?;
    Ok(Rule { who: raw.who.clone(), action, calls: calls.into_iter().collect(), cases })
}

fn parse_action(text: &str, tables: &Tables) -> Result<Action, Refusal> {
    match text {
        "allow" => Ok(Action::Allow),
        "kill" => Ok(Action::Kill),
        _ => {
            let number = tables.constants.get(text).filter(|_| text.starts_with('E'));
            let number =
                number.and_then(|number| u16::try_from(*number).ok()).filter(|n| (1..=4095).contains(n));
            number.map(Action::Errno).ok_or_else(|| {
                Refusal(format!("action {text:?} is not allow, kill, unlisted or an error in constants.toml"))
            })
        }
    }
}

/// Within one file; an inherited rule may well be overridden.
fn refuse_unreachable(rules: &[Rule]) -> Result<(), Refusal> {
    let mut decided: BTreeSet<u32> = BTreeSet::new();
    for rule in rules {
        if let Some(call) = rule.calls.iter().find(|call| decided.contains(*call)) {
            return Err(Refusal(format!(
                "rule {:?} is never reached for call {call}: a rule above decides it",
                rule.who
            )));
        }
        if rule.cases.is_empty() {
            decided.extend(&rule.calls);
        }
    }
    Ok(())
}

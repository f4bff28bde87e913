//! Differential tests: our programs decide as filters that the seccompiler crate builds from the same rules.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, compile_from_json,
};

use super::super::compile::condition::{Condition, Test, Width};
use super::super::compile::profile::{Action, Profile, Rule};
use super::super::compile::program::{Insn, compile, return_value};
use super::super::interpreter::{Call, run};
use super::values::{Random, arguments};
use super::{Name, profiles, shipped, tables};

const MATCH: u32 = 0x0003_0000; // SECCOMP_RET_TRAP, which none of our profiles uses

/// seccompiler knows two actions for a filter and no order, so each rule becomes a filter that only says whether
/// the rule matches; the first that does decides.
struct Oracle {
    rules: Vec<(Vec<Insn>, Action)>,
    unlisted: Action,
}

impl Oracle {
    fn new(profile: &Profile) -> Self {
        let rules = profile.rules.iter().map(|rule| (filter(rule), rule.action)).collect();
        Self { rules, unlisted: profile.unlisted }
    }

    fn decide(&self, call: &Call) -> u32 {
        let decided = self.rules.iter().find(|(filter, _)| run(filter, call) == MATCH);
        return_value(decided.map_or(self.unlisted, |(_, action)| *action))
    }
}

fn filter(rule: &Rule) -> Vec<Insn> {
    let rules: Vec<SeccompRule> = rule
        .cases
        .iter()
        .map(|case| SeccompRule::new(case.iter().map(condition).collect()).unwrap())
        .collect();
    let map = rule.calls.iter().map(|call| (i64::from(*call), rules.clone())).collect();
    plain(by_number(map))
}

fn by_number(map: BTreeMap<i64, Vec<SeccompRule>>) -> BpfProgram {
    let filter = SeccompFilter::new(map, SeccompAction::Allow, SeccompAction::Trap, TargetArch::x86_64);
    filter.unwrap().try_into().unwrap()
}

fn plain(program: BpfProgram) -> Vec<Insn> {
    program.iter().map(|i| Insn { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect()
}

fn condition(condition: &Condition) -> SeccompCondition {
    let length = match condition.width {
        Width::U32 => SeccompCmpArgLen::Dword,
        Width::U64 => SeccompCmpArgLen::Qword,
    };
    let operation = match condition.test {
        Test::Equal => SeccompCmpOp::MaskedEq(condition.mask),
        Test::AtMost => SeccompCmpOp::Le,
    };
    SeccompCondition::new(condition.arg, length, operation, condition.value).unwrap()
}

#[test]
fn shipped_programs_decide_as_the_oracle_for_every_number() {
    let tables = tables();
    let parsed = profiles(&tables);
    let mut random = Random::new(7);
    for name in Name::ALL {
        let profile = &parsed[name.name()];
        let (program, oracle) = (shipped(name), Oracle::new(profile));
        for number in (0..1024).chain([0x3fff_ffff, u32::MAX - 1, u32::MAX]) {
            for args in arguments(profile, number, &mut random) {
                let call = Call::native(number, args);
                assert_eq!(run(&program, &call), oracle.decide(&call), "{name:?} {call:x?}");
            }
        }
    }
}

#[test]
fn numbers_of_the_table_are_those_of_the_oracle() {
    // seccompiler 0.5.0 has the calls of Linux 6.12, the last of which is mseal.
    let known = |number: &u32| *number <= 462 && *number != 336;
    let tables = tables();
    let (names, numbers): (Vec<&String>, Vec<&u32>) =
        tables.calls.iter().filter(|(_, number)| known(number)).unzip();
    let listed: Vec<String> = names.iter().map(|name| format!(r#"{{"syscall":"{name}"}}"#)).collect();
    let json = format!(
        r#"{{"all":{{"mismatch_action":"allow","match_action":"trap","filter":[{}]}}}}"#,
        listed.join(",")
    );
    let by_name = compile_from_json(json.as_bytes(), TargetArch::x86_64).unwrap().remove("all").unwrap();
    let by_number = by_number(numbers.into_iter().map(|number| (i64::from(*number), Vec::new())).collect());
    assert!(plain(by_name) == plain(by_number));
}

fn any_condition() -> impl Strategy<Value = Condition> {
    (0..=5u8, any::<bool>(), any::<u64>(), any::<bool>(), any::<u64>()).prop_map(
        |(arg, wide, mask, at_most, value)| {
            let (width, all) = if wide { (Width::U64, u64::MAX) } else { (Width::U32, u64::from(u32::MAX)) };
            let at_most = at_most && !wide;
            let mask = if at_most { all } else { mask & all };
            let test = if at_most { Test::AtMost } else { Test::Equal };
            Condition { arg, width, mask, test, value: value & mask }
        },
    )
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let action = || prop_oneof![Just(Action::Allow), Just(Action::Kill), (1..40u16).prop_map(Action::Errno)];
    let cases = proptest::collection::vec(proptest::collection::vec(any_condition(), 1..4), 0..4);
    let calls = proptest::collection::btree_set(0..600u32, 1..40);
    let rule = (action(), calls, cases).prop_map(|(action, calls, cases)| Rule {
        who: String::new(),
        action,
        calls: calls.into_iter().collect(),
        cases,
    });
    (action(), proptest::collection::vec(rule, 0..12))
        .prop_map(|(unlisted, rules)| Profile { unlisted, rules })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_rules_decide_as_the_oracle(profile in any_profile(), seed in any::<u64>()) {
        let Ok(program) = compile(&profile) else { return Ok(()) };
        let (oracle, mut random) = (Oracle::new(&profile), Random::new(seed));
        for number in 0..620 {
            for args in arguments(&profile, number, &mut random) {
                let call = Call::native(number, args);
                prop_assert_eq!(run(&program, &call), oracle.decide(&call), "{:x?}", call);
            }
        }
    }
}

//! A profile that is not what it should be is refused with a sentence, and never panics.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::compile::condition::parse_case;
use super::super::compile::profile::parse;
use super::super::compile::tables::Tables;
use super::{CALLS, CONSTANTS, TEXTS, profiles, tables};

/// A profile with one rule that is made of these lines.
fn refusal(lines: &str) -> String {
    let text = format!("unlisted = \"ENOSYS\"\n[[rule]]\n{lines}");
    parse(&text, &tables(), &BTreeMap::new()).unwrap_err().to_string()
}

#[test]
fn a_bad_rule_is_refused_with_its_reason() {
    for (lines, reason) in [
        ("who = 'a'\naction = 'allow'\ncalls = ['raed']", "\"raed\" is not in x86_64.tbl"),
        ("who = 'a'\naction = 'allow'\ncalls = ['read', 'read']", "stands twice"),
        ("who = ' '\naction = 'allow'\ncalls = ['read']", "say who needs it"),
        ("who = 'a'\naction = 'allow'\ncalls = []", "is empty"),
        ("who = 'a'\naction = 'allow'\ncalls = ['read']\nwhen = []", "is empty"),
        ("who = 'a'\naction = 'permit'\ncalls = ['read']", "action \"permit\" is not"),
        ("who = 'a'\naction = 'AF_UNIX'\ncalls = ['read']", "action \"AF_UNIX\" is not"),
        ("who = 'a'\naction = 'ENOSYS'\ncalls = ['read']", "say `unlisted`"),
        ("who = 'a'\naction = 'unlisted'\ncalls = ['read']\nwhen = ['arg0.u32 == 1']", "has no `when`"),
        ("who = 'a'\naction = 'allow'\ncalls = ['read']\nwhy = 'b'", "unknown field"),
        ("action = 'allow'\ncalls = ['read']", "missing field `who`"),
        (
            "who = 'a'\naction = 'allow'\ncalls = ['read']\n[[rule]]\nwho = 'b'\naction = 'kill'\ncalls = ['read']",
            "never reached",
        ),
    ] {
        let said = refusal(lines);
        assert!(said.contains(reason), "{lines:?} gave {said:?}");
    }
}

#[test]
fn a_profile_names_its_unlisted_action_once() {
    let parsed = profiles(&tables());
    for text in
        ["rule = []", "unlisted = 'kill'\nextends = 'default'\nrule = []", "extends = 'later'\nrule = []"]
    {
        assert!(parse(text, &tables(), &parsed).is_err(), "{text}");
    }
}

#[test]
fn a_bad_condition_is_refused() {
    let constants = tables().constants;
    for text in [
        "",
        "arg0.u32",
        "arg6.u32 == 1",
        "arg-1.u32 == 1",
        "arg0 == 1",
        "arg0.u16 == 1",
        "arg0.u32 = 1",
        "arg0.u32 == 1 == 2",
        "arg0.u32 == 1 <= 2",
        "arg0.u32 == ",
        "arg0.u32 == NOBODY",
        "arg0.u32 == 0x1_0000_0000",
        "arg0.u32 == 4294967296",
        "arg0.u32 & 0x1ffffffff == 0",
        "arg0.u32 & 1 == 2",
        "arg0.u64 <= 3",
        "arg0.u32 == 1 &&",
        "arg0.u32 == -1",
        "arg0.u32 == é",
    ] {
        assert!(parse_case(text, &constants).is_err(), "{text:?}");
    }
}

#[test]
fn a_table_with_a_double_or_a_gap_in_its_order_is_refused() {
    for text in ["0 read\n0 write", "1 write\n0 read", "0 read\n1 read", "x read", "0read", "0 read\n\n"] {
        assert!(Tables::parse(text, CONSTANTS).is_err(), "{text:?}");
    }
    assert!(Tables::parse(CALLS, "A = 'b'").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,200}") {
        let tables = tables();
        let _ = parse(&text, &tables, &BTreeMap::new());
        let _ = parse_case(&text, &tables.constants);
        let _ = Tables::parse(&text, &text);
    }

    #[test]
    fn no_damage_to_a_profile_makes_the_parser_panic(
        which in 0..TEXTS.len(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = TEXTS[which].as_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let tables = tables();
        let _ = parse(&String::from_utf8_lossy(&bytes), &tables, &BTreeMap::new());
    }

    #[test]
    fn a_condition_reads_back_as_written(arg in 0..6u8, mask in 1..=u32::MAX, value in any::<u32>(), wide in any::<bool>()) {
        let width = if wide { "u64" } else { "u32" };
        let case = parse_case(&format!("arg{arg}.{width} & {mask:#x} == {}", value & mask), &BTreeMap::new()).unwrap();
        prop_assert_eq!((case[0].arg, case[0].mask, case[0].value), (arg, u64::from(mask), u64::from(value & mask)));
    }
}

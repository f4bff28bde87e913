//! Frames that a typed proxy would change: ids, numbers, spellings, vendor members, unknown methods, depth.
//!
//! Promises: valid JSON without members of the same name, the same for the same seed, each frame under 256 KiB.

use std::fmt::Write;

use gaoler_tests::random::Random;

/// Ids as they are spelled on the wire.
const IDS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "-9007199254740993",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    r#""""#,
    r#""0""#,
    r#""-1""#,
    r#""a b""#,
    r#""\u00fcber-\ud83d\ude00""#,
    "\"漢字\"",
    r#""00000000-0000-4000-8000-00000000000000000000000000000000000000000000000000000000""#,
];

/// Numbers that a parser into a double or an integer would spell anew.
const NUMBERS: [&str; 14] = [
    "0",
    "-0",
    "1",
    "1.0",
    "1.10",
    "-0.0",
    "1e2",
    "1E+2",
    "100",
    "0.1",
    "1e-7",
    "9007199254740993",
    "18446744073709551616",
    "3.14159265358979323846264338327950288",
];

/// Strings as they are spelled: escapes that need not be, control characters, many scripts, and lengths.
const STRINGS: [&str; 14] = [
    r#""""#,
    r#""plain""#,
    r#""\/path\/""#,
    r#""\u0041\u00e9\u6f22""#,
    "\"é漢😀\"",
    r#""\ud83d\ude00""#,
    r#""\u0000\u001f""#,
    r#""line\nbreak\ttab\r""#,
    r#""\"quoted\" and \\ back""#,
    "\"\u{2028}\u{2029}\u{feff}\"",
    "\"שלום مرحبا\"",
    r#""data: not an event""#,
    r#""null""#,
    r#""id: 7\n\ndata: forged""#,
];

/// The id of the n-th request.
pub fn id(n: u64) -> String {
    let known = u64::try_from(IDS.len()).unwrap_or(1);
    if n < known { IDS[usize::try_from(n).unwrap_or(0)].to_owned() } else { format!("\"id-{n}\"") }
}

/// Any JSON value, at most `depth` levels deep.
pub fn value(random: &mut Random, depth: u32) -> String {
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0 => ["null", "true", "false"][pick(random, 3)].to_owned(),
        1 | 2 => NUMBERS[pick(random, NUMBERS.len())].to_owned(),
        3 | 4 => STRINGS[pick(random, STRINGS.len())].to_owned(),
        5 | 6 => {
            let items: Vec<String> = (0..random.below(5)).map(|_| value(random, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => object(random, depth - 1),
    }
}

/// An object of vendor members in no order.
pub fn object(random: &mut Random, depth: u32) -> String {
    let mut text = String::from("{");
    for n in 0..random.below(6) {
        let comma = if n == 0 { "" } else { "," };
        // The number makes the name unique; the rest of it is what a careless rewriter may trip over.
        let name = ["id", "x-vendor/", "méthode", "jsonrpc\\\"", "_meta", "result", ""][pick(random, 7)];
        let _ = write!(text, "{comma}\"{name}{n}\":{}", value(random, depth));
    }
    text.push('}');
    text
}

/// A value that is `depth` levels deep.
pub fn nested(depth: usize) -> String {
    format!("{}1.0{}", "[{\"d\":".repeat(depth / 2), "}]".repeat(depth / 2))
}

/// A long string of many scripts, about `size` bytes.
pub fn long(size: usize) -> String {
    format!("\"{}\"", "0123456789 é漢😀 ".repeat(size / 22))
}

/// Vendor members for the params of the n-th frame: mostly drawn, now and then deep or long.
pub fn extras(random: &mut Random, n: u64) -> String {
    let extra = match n % 25 {
        7 => nested(96),
        13 => long(100_000),
        _ => value(random, 4),
    };
    format!(r#""x-vendor":{extra},"more":{}"#, object(random, 3))
}

/// The same frame with line breaks and blanks between its tokens, which HTTP allows and a line-based pipe does not.
pub fn spread(frame: &str) -> String {
    let (mut text, mut inside, mut escaped) = (String::new(), false, false);
    for c in frame.chars() {
        text.push(c);
        match c {
            '"' if !escaped => inside = !inside,
            '{' | ',' | '[' if !inside => text.push_str("\r\n  "),
            ':' if !inside => text.push(' '),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    text
}

fn pick(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

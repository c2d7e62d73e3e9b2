use super::scalar::Style;

/// The type and value of a scalar.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// Null: `~`, `null` or nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that only fits without a sign.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// A date or a date and time, as RFC 3339 with as many fraction digits as needed.
    Timestamp(String),
    /// Text.
    String,
}

/// Finds the type of a scalar as Go's yaml.v3 does (`resolve.go` v3.0.4), on whose values a SOPS MAC is computed.
///
/// YAML 1.1's `yes`, `no`, `on` and `off` are strings; `012` is octal; `1_000` is a thousand.
pub fn resolve(text: &str, style: Style, tag: Option<&str>) -> Resolved {
    match tag.map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag)) {
        Some("str" | "binary" | "!") => return Resolved::String,
        Some("float") => {
            return match plain(text) {
                #[expect(clippy::cast_precision_loss, reason = "Go converts the same way")]
                Resolved::Int(value) => Resolved::Float(value as f64),
                other => other,
            };
        }
        Some("null" | "bool" | "int" | "timestamp") => return plain(text),
        Some(_) | None => {}
    }
    if style == Style::Plain { plain(text) } else { Resolved::String }
}

fn plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    // yaml.v3 looks at the first character to decide what a scalar can be at all.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Resolved::String;
    }
    if let Some(time) = timestamp(text) {
        return Resolved::Timestamp(time);
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return number;
    }
    if is_float(&digits)
        && let Ok(value) = digits.parse::<f64>()
        && value.is_finite()
    {
        return Resolved::Float(value);
    }
    Resolved::String
}

/// Parses as Go's `strconv.ParseInt(s, 0, 64)`, then `ParseUint`, then yaml.v3's own `0b` and `0o` with a sign.
fn integer(digits: &str) -> Option<Resolved> {
    let (negative, magnitude) = match digits.as_bytes().first()? {
        b'-' => (true, digits.get(1..)?),
        b'+' => (false, digits.get(1..)?),
        _ => (false, digits),
    };
    let lower = magnitude.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, lower.as_str())
    };
    if body.is_empty() || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(body, radix).ok()?;
    match (negative, i64::try_from(value)) {
        (false, Ok(value)) => Some(Resolved::Int(value)),
        (false, Err(_)) if digits.starts_with('+') => None,
        (false, Err(_)) => Some(Resolved::Unsigned(value)),
        (true, Ok(value)) => Some(Resolved::Int(-value)),
        (true, Err(_)) => (value == 1 << 63).then_some(Resolved::Int(i64::MIN)),
    }
}

/// Matches yaml.v3's `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    exponent_ok && mantissa_ok
}

/// Parses the four layouts of yaml.v3's `parseTimestamp` and formats as Go's RFC 3339 with nanoseconds.
fn timestamp(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    // Quick check of yaml.v3: four digits and a dash.
    if bytes.len() < 8 || !bytes.iter().take(4).all(u8::is_ascii_digit) || bytes.get(4) != Some(&b'-') {
        return None;
    }
    let date_end = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let (date, rest) = (text.get(..date_end)?, text.get(date_end..)?);
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let short = |s: &str| (1..=2).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || year.len() != 4 || !short(month) || !short(day) {
        return None;
    }
    let date = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    if rest.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let spaced = rest.starts_with(' ');
    let time = rest.get(1..)?;
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = (time.get(..zone_at)?, time.get(zone_at..)?);
    if spaced != zone.is_empty() {
        return None; // "T" layouts need a zone, the spaced layout takes none
    }
    let mut clock = clock.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    let (second, fraction) = second.split_once('.').map_or((second, ""), |(s, f)| (s, f));
    let two = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
    if clock.next().is_some() || !short(hour) || !two(minute) || !two(second) {
        return None;
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    let (hour, minute, second): (u8, u8, u8) =
        (hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let zone = match zone {
        "" | "Z" => "Z".to_owned(),
        offset => {
            let (h, m) = offset.get(1..)?.split_once(':')?;
            if !two(h) || !two(m) {
                return None;
            }
            if offset.get(1..) == Some("00:00") { "Z".to_owned() } else { offset.to_owned() }
        }
    };
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}{zone}"))
}

/// Formats as Go's `strconv.FormatFloat(v, 'f', -1, 64)`: the shortest digits that read back, never an exponent.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_as_go_does() {
        let cases: &[(&str, Resolved)] = &[
            ("", Resolved::Null),
            ("~", Resolved::Null),
            ("yes", Resolved::String),
            ("on", Resolved::String),
            ("True", Resolved::Bool(true)),
            ("012", Resolved::Int(10)),
            ("0o14", Resolved::Int(12)),
            ("0x1f", Resolved::Int(31)),
            ("0b11", Resolved::Int(3)),
            ("08", Resolved::Float(8.0)),
            ("1_000", Resolved::Int(1000)),
            ("-42", Resolved::Int(-42)),
            ("9223372036854775808", Resolved::Unsigned(1 << 63)),
            ("-9223372036854775808", Resolved::Int(i64::MIN)),
            ("1e3", Resolved::Float(1000.0)),
            ("1.5", Resolved::Float(1.5)),
            (".5", Resolved::Float(0.5)),
            ("1.", Resolved::Float(1.0)),
            (".inf", Resolved::Float(f64::INFINITY)),
            ("1.2.3.4", Resolved::String),
            ("10.0.0.1:5000", Resolved::String),
            ("2024-01-02", Resolved::Timestamp("2024-01-02T00:00:00Z".into())),
            ("2024-1-2", Resolved::Timestamp("2024-01-02T00:00:00Z".into())),
            ("2024-01-02T03:04:05Z", Resolved::Timestamp("2024-01-02T03:04:05Z".into())),
            ("2024-01-02T03:04:05.120+02:00", Resolved::Timestamp("2024-01-02T03:04:05.12+02:00".into())),
            ("2024-01-02 3:04:05", Resolved::Timestamp("2024-01-02T03:04:05Z".into())),
            ("2024-13-02", Resolved::String),
            ("0x", Resolved::String),
            ("-", Resolved::String),
            ("v1.13.9", Resolved::String),
        ];
        for (text, want) in cases {
            assert_eq!(&resolve(text, Style::Plain, None), want, "{text:?}");
        }
        assert_eq!(resolve("1", Style::DoubleQuoted, None), Resolved::String);
        assert_eq!(resolve("5", Style::Plain, Some("tag:yaml.org,2002:str")), Resolved::String);
    }

    #[test]
    fn floats_have_no_exponent() {
        assert_eq!(format_float(1e21), "1000000000000000000000");
        assert_eq!(format_float(1.0), "1");
        assert_eq!(format_float(0.300_000_000_000_000_04), "0.30000000000000004");
        assert_eq!(format_float(f64::INFINITY), "+Inf");
    }
}

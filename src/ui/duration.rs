use std::time::Duration;

/// Reads a time as flags give it, such as `20s`, `2m`, `1m30s`; `0s` and `0` are none at all.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration: Option<jiff::SignedDuration> = text.parse().ok();
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "a time looks like 20s or 2m".to_owned())
}

/// Reads a time as flags give it; none at all is refused.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than 0s".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!((duration("0"), duration("0s")), (Ok(Duration::ZERO), Ok(Duration::ZERO)));
        assert_eq!(positive_duration("2m"), Ok(Duration::from_mins(2)));
        for text in ["5", "-5s", "soon", ""] {
            assert!(duration(text).unwrap_err().contains("like 20s"), "{text}");
        }
        assert!(positive_duration("0").unwrap_err().contains("more than"));
    }
}

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

/// Writes a time as flags take it: what is read of that is the same time.
pub(crate) fn duration_text(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds, 0) if seconds > 0 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        (_, nanoseconds) if nanoseconds.is_multiple_of(1_000_000) => format!("{}ms", time.as_millis()),
        _ => format!("{}ns", time.as_nanos()),
    }
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
    fn a_time_that_is_written_is_read_as_it_was() {
        for text in ["0s", "1ns", "1500us", "2500ms", "8s", "90s", "2m", "1h", "1h1s"] {
            let time = duration(text).unwrap();
            assert_eq!(duration(&duration_text(time)), Ok(time), "{text}: {}", duration_text(time));
        }
        let texts = ["0s", "2500ms", "8s", "90s", "120s"].map(|text| duration_text(duration(text).unwrap()));
        assert_eq!(texts, ["0s", "2500ms", "8s", "90s", "2m"]);
    }

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

use std::error::Error;

/// Returns an error and its causes on one line, however many they are written on.
pub fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("it\n  failed")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn causes_follow_on_one_line() {
        assert_eq!(one_line(&Outer(std::fmt::Error)), format!("it failed: {}", std::fmt::Error));
    }
}

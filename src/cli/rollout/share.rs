use std::fmt;
use std::str::FromStr;

/// How many of the nodes that change: a number, or a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// So many.
    Number(usize),
    /// So many of a hundred, rounded down.
    Percent(u8),
}

impl Share {
    /// Returns how many of `all` that is.
    pub(super) fn of(self, all: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => all.saturating_mul(usize::from(percent)) / 100,
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it takes a number of nodes, such as 3, or a part of them, such as 10%".to_owned();
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                Ok(_) | Err(_) => Err(wrong()),
            },
            None => text.parse().map(Self::Number).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_rounded_down() {
        let of = |text: &str, all| text.parse::<Share>().map(|share| share.of(all));
        assert_eq!([of("3", 9), of("25%", 9), of("0%", 9), of("100%", 9)], [Ok(3), Ok(2), Ok(0), Ok(9)]);
        for wrong in ["", "%", "101%", "-1", "a", "1.5%", "300%"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        assert_eq!("25%".parse::<Share>().unwrap().to_string(), "25%");
    }
}

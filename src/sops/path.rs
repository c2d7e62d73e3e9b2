use std::fmt;

/// One step from a collection to a value in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, from 0.
    Index(usize),
}

/// The way to a value, written as sops does: `["a"]["b"][0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// Makes a path of keys.
    pub fn of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// Returns the keys, without the places in lists.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    /// Returns what a sealed value at this path is bound to: every key and a colon, places in lists left out.
    pub(super) fn aad(&self) -> String {
        if self.0.is_empty() {
            return ":".to_owned();
        }
        self.keys().fold(String::new(), |aad, key| aad + key + ":")
    }

    pub(super) fn join(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| match step {
            Step::Key(key) => write!(f, "[\"{key}\"]"),
            Step::Index(index) => write!(f, "[{index}]"),
        })
    }
}

/// A text that is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path of the form [\"key\"][0]")]
pub struct PathError(String);

impl std::str::FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let failed = || PathError(text.to_owned());
        let (mut steps, mut rest) = (Vec::new(), text.trim());
        while !rest.is_empty() {
            rest = rest.strip_prefix('[').ok_or_else(failed)?;
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (step, tail) = if let Some(quote) = quote {
                let body = rest.get(1..).ok_or_else(failed)?;
                let (key, tail) = body.split_once(&format!("{quote}]")).ok_or_else(failed)?;
                (Step::Key(key.to_owned()), tail)
            } else {
                let (index, tail) = rest.split_once(']').ok_or_else(failed)?;
                (Step::Index(index.parse().map_err(|_| failed())?), tail)
            };
            steps.push(step);
            rest = tail;
        }
        Ok(Self(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_sops_syntax() {
        let path: Path = r#"["machine"]['a:5000'][0]"#.parse().unwrap();
        assert_eq!(path.to_string(), r#"["machine"]["a:5000"][0]"#);
        assert_eq!(path.aad(), "machine:a:5000:");
        assert_eq!(Path::default().aad(), ":");
        for bad in ["a", "[", "[\"a]", "[x]", "[0]y"] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }
}

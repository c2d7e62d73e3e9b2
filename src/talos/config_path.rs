#![expect(clippy::disallowed_methods, reason = "finds the talosconfig")]

use std::path::{Path, PathBuf};

/// Where a service account's talosconfig lies in a pod.
const IN_CLUSTER: &str = "/var/run/secrets/talos.dev/config";

/// A talosconfig file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// The file that `TALOSCONFIG` names, where that does not exist and so another counts.
    pub passed_over: Option<PathBuf>,
}

/// The places that were looked at, none of which has a talosconfig.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no talosconfig: {}", looked_at.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", "))]
pub struct NotFound {
    /// The places.
    pub looked_at: Vec<PathBuf>,
}

/// Finds the talosconfig as talosctl does: the first that exists of `$TALOSCONFIG`, `$TALOS_HOME/config`
/// (`~/.talos/config`), and a service account's.
///
/// `project` is the file that a project names; it comes after `$TALOSCONFIG`, and has to exist. talosctl makes an
/// empty file where there is none: nothing is made here.
pub fn find(
    variable: &dyn Fn(&str) -> Option<String>,
    home: Option<&Path>,
    project: Option<&Path>,
) -> Result<Found, NotFound> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = set("TALOSCONFIG");
    let by_home = set("TALOS_HOME").filter(|path| path.is_absolute());
    let by_home =
        by_home.or_else(|| home.map(|home| home.join(".talos"))).map(|folder| folder.join("config"));
    let looked_at: Vec<PathBuf> = match project {
        Some(project) => named.iter().cloned().chain([project.to_owned()]).collect(),
        None => named.iter().cloned().chain(by_home).chain([PathBuf::from(IN_CLUSTER)]).collect(),
    };
    match looked_at.iter().find(|path| path.exists()) {
        Some(path) => Ok(Found { path: path.clone(), passed_over: named.filter(|named| named != path) }),
        None => Err(NotFound { looked_at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_exists_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["home/.talos/config", "other/config", "named", "project"] {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), "").unwrap();
        }
        let home = path("home");
        let look = |variables: &[(&str, PathBuf)], project: Option<&Path>| {
            let get = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.display().to_string())
            };
            find(&get, Some(&home), project).map(|found| (found.path, found.passed_over))
        };
        assert_eq!(look(&[], None), Ok((path("home/.talos/config"), None)));
        assert_eq!(look(&[("TALOS_HOME", path("other"))], None), Ok((path("other/config"), None)));
        assert_eq!(look(&[("TALOS_HOME", "other".into())], None), Ok((path("home/.talos/config"), None)));
        assert_eq!(look(&[("TALOSCONFIG", path("named"))], None), Ok((path("named"), None)));
        assert_eq!(look(&[], Some(&path("project"))), Ok((path("project"), None)));
        assert_eq!(
            look(&[("TALOSCONFIG", path("gone"))], None),
            Ok((path("home/.talos/config"), Some(path("gone"))))
        );
        assert!(look(&[], Some(&path("gone"))).is_err());
    }
}

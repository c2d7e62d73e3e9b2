#![expect(clippy::disallowed_methods, reason = "looks for the kubeconfig")]

use std::path::{Path, PathBuf};

use super::error::KubernetesError;
use super::kubeconfig::Access;
use crate::secret::Secret;

/// Where a pod's own account lies.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Returns the files of the kubeconfig as kubectl finds them: the one that is named, else those of `KUBECONFIG` that
/// exist, else `~/.kube/config`; none where there is none.
pub fn kubeconfig_files(
    named: Option<&Path>,
    variable: Option<&str>,
    home: Option<&Path>,
) -> Result<Vec<PathBuf>, KubernetesError> {
    if let Some(named) = named {
        return Ok(vec![named.to_owned()]);
    }
    let listed: Vec<PathBuf> = variable
        .into_iter()
        .flat_map(std::env::split_paths)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let looked_at = if listed.is_empty() {
        home.map(|home| home.join(".kube").join("config")).into_iter().collect()
    } else {
        listed
    };
    let found: Vec<PathBuf> = looked_at.iter().filter(|path| path.exists()).cloned().collect();
    if found.is_empty() {
        let looked_at = looked_at.iter().map(|path| format!("`{}`", path.display())).collect();
        return Err(KubernetesError::NoKubeconfig { looked_at });
    }
    Ok(found)
}

/// Returns the access that a pod's own account gives; [`None`] outside of a cluster.
pub fn in_cluster(host: Option<&str>, port: Option<&str>) -> Option<Access> {
    let folder = Path::new(SERVICE_ACCOUNT);
    let token = std::fs::read_to_string(folder.join("token")).ok()?;
    let host = host?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(Access {
        context: "in-cluster".to_owned(),
        server: format!("https://{host}:{}", port.unwrap_or("443")),
        ca: std::fs::read_to_string(folder.join("ca.crt")).ok(),
        token: Some(Secret::new(token.trim().to_owned())),
        ..Access::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_as_kubectl_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("home/.kube")).unwrap();
        for name in ["home/.kube/config", "a", "b"] {
            std::fs::write(path(name), "").unwrap();
        }
        let home = path("home");
        let variable = format!("{}:{}:{}:", path("a").display(), path("gone").display(), path("b").display());
        let find = |named: Option<&Path>, variable: Option<&str>| {
            kubeconfig_files(named, variable, Some(&home)).map_err(|error| error.to_string())
        };
        assert_eq!(find(None, None), Ok(vec![path("home/.kube/config")]));
        assert_eq!(find(None, Some("")), Ok(vec![path("home/.kube/config")]));
        assert_eq!(find(None, Some(&variable)), Ok(vec![path("a"), path("b")]));
        assert_eq!(find(Some(&path("gone")), Some(&variable)), Ok(vec![path("gone")]));
        let gone = path("gone").display().to_string();
        assert_eq!(find(None, Some(&gone)), Err(format!("there is no kubeconfig: `{gone}`")));
    }
}

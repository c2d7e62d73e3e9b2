use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::error::{KubernetesError, without_value};
use crate::secret::Secret;
use crate::yaml;

/// A kubeconfig, of one file or several: of two entries with the same name the first counts, as for kubectl.
#[derive(Debug, Default)]
pub struct Kubeconfig {
    clusters: BTreeMap<String, (PathBuf, Cluster)>,
    users: BTreeMap<String, (PathBuf, User)>,
    contexts: BTreeMap<String, Context>,
    current: Option<String>,
}

/// How a cluster is reached, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The context's name.
    pub context: String,
    /// The URL of the API.
    pub server: String,
    /// Authorities, PEM; the system's without.
    pub ca: Option<String>,
    /// Whether the server's certificate goes unchecked.
    pub insecure: bool,
    /// The name that the certificate must be for, where it is not the URL's.
    pub server_name: Option<String>,
    /// The proxy in between.
    pub proxy: Option<String>,
    /// The client's certificate, PEM.
    pub certificate: Option<String>,
    /// Its key, PEM.
    pub key: Option<Secret<String>>,
    /// A bearer token.
    pub token: Option<Secret<String>>,
    /// A user and a password.
    pub basic: Option<(String, Secret<String>)>,
    /// The user that is acted as.
    pub act_as: Option<String>,
    /// The groups that are acted in.
    pub act_as_groups: Vec<String>,
    /// The program that gives credentials.
    pub exec: Option<Exec>,
}

/// A program that gives credentials.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The version that it speaks.
    #[serde(default)]
    pub api_version: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// What it finds in its environment besides ours.
    #[serde(default)]
    pub env: Option<Vec<Variable>>,
    /// What to tell the user where it is missing.
    pub install_hint: Option<String>,
    /// Whether it is told about the cluster.
    #[serde(default)]
    pub provide_cluster_info: bool,
    /// Whether it may ask the user.
    #[serde(default)]
    pub interactive_mode: InteractiveMode,
}

/// Whether an exec plugin gets standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum InteractiveMode {
    /// It does not.
    Never,
    /// It does where that is a terminal.
    #[default]
    IfAvailable,
    /// It cannot do without.
    Always,
}

/// A variable of the environment.
#[derive(Clone, Debug, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, which may be a secret.
    pub value: Secret<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    clusters: Option<Vec<Named>>,
    #[serde(default)]
    users: Option<Vec<Named>>,
    #[serde(default)]
    contexts: Option<Vec<Named>>,
    #[serde(default)]
    current_context: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    cluster: Option<Cluster>,
    user: Option<User>,
    context: Option<Context>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<Secret<String>>,
    token: Option<Secret<String>>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<Secret<String>>,
    #[serde(rename = "as")]
    act_as: Option<String>,
    #[serde(rename = "as-groups")]
    act_as_groups: Option<Vec<String>>,
    exec: Option<Exec>,
    auth_provider: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

impl Kubeconfig {
    /// Lays a file under those that were read before.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), KubernetesError> {
        let invalid = |why: String| KubernetesError::Invalid { file: path.display().to_string(), why };
        if text.trim().is_empty() {
            return Ok(());
        }
        let document = yaml::parse_one(text).map_err(|error| invalid(error.to_string()))?;
        let file: File = serde_json::from_value(document.root.to_json())
            .map_err(|error| invalid(without_value(&error)))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        for named in file.clusters.unwrap_or_default() {
            self.clusters
                .entry(named.name)
                .or_insert_with(|| (folder.clone(), named.cluster.unwrap_or_default()));
        }
        for named in file.users.unwrap_or_default() {
            self.users.entry(named.name).or_insert_with(|| (folder.clone(), named.user.unwrap_or_default()));
        }
        for named in file.contexts.unwrap_or_default() {
            self.contexts.entry(named.name).or_insert_with(|| named.context.unwrap_or_default());
        }
        let current = file.current_context.filter(|name| !name.is_empty());
        self.current = self.current.take().or(current);
        Ok(())
    }

    /// Returns the names of the contexts.
    pub fn contexts(&self) -> Vec<String> {
        self.contexts.keys().cloned().collect()
    }

    /// Returns what a context gives, the current one where none is named; `read` reads files that it names.
    pub fn access(
        &self,
        named: Option<&str>,
        read: &dyn Fn(&Path) -> std::io::Result<Secret<String>>,
    ) -> Result<Access, KubernetesError> {
        let name = named
            .or(self.current.as_deref())
            .ok_or_else(|| KubernetesError::NoCurrentContext { known: self.contexts() })?;
        let context = self
            .contexts
            .get(name)
            .ok_or_else(|| KubernetesError::NoContext { name: name.to_owned(), known: self.contexts() })?;
        let dangling = |noun, name: &str, context: &str| KubernetesError::Dangling {
            context: context.to_owned(),
            noun,
            name: name.to_owned(),
        };
        let cluster = self.clusters.get(&context.cluster);
        let (folder, cluster) = cluster.ok_or_else(|| dangling("cluster", &context.cluster, name))?;
        let user = self.users.get(&context.user);
        let user = match user {
            None if context.user.is_empty() => None,
            found => Some(found.ok_or_else(|| dangling("user", &context.user, name))?),
        };
        let mut access = Access {
            context: name.to_owned(),
            server: cluster.server.clone(),
            insecure: cluster.insecure_skip_tls_verify,
            server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
            proxy: cluster.proxy_url.clone().filter(|url| !url.is_empty()),
            ..Access::default()
        };
        let given = ContextReader { context: name, read };
        let ca = given.pem(
            "certificate-authority",
            folder,
            cluster.certificate_authority_data.as_deref(),
            cluster.certificate_authority.as_deref(),
        )?;
        access.ca = ca.map(|ca| ca.expose().clone());
        if let Some((folder, user)) = user {
            given.user(&mut access, folder, user)?;
        }
        Ok(access)
    }
}

/// Reads what a context's entries name.
struct ContextReader<'a> {
    context: &'a str,
    read: &'a dyn Fn(&Path) -> std::io::Result<Secret<String>>,
}

impl ContextReader<'_> {
    fn user(&self, access: &mut Access, folder: &Path, user: &User) -> Result<(), KubernetesError> {
        let certificate = self.pem(
            "client-certificate",
            folder,
            user.client_certificate_data.as_deref(),
            user.client_certificate.as_deref(),
        )?;
        access.certificate = certificate.map(|text| text.expose().clone());
        let data = user.client_key_data.as_ref().map(|key| key.expose().as_str());
        access.key = self.pem("client-key", folder, data, user.client_key.as_deref())?;
        let some = |secret: &&Secret<String>| !secret.expose().is_empty();
        // kubectl takes the file before the token: a service account's is renewed.
        access.token = match user.token_file.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => {
                let text = self.file("tokenFile", &folder.join(path))?;
                Some(Secret::new(text.expose().trim().to_owned()))
            }
            None => user.token.as_ref().filter(some).cloned(),
        };
        access.basic = user.username.clone().filter(|name| !name.is_empty()).zip(user.password.clone());
        access.act_as.clone_from(&user.act_as);
        access.act_as_groups = user.act_as_groups.clone().unwrap_or_default();
        access.exec = user.exec.clone().map(|mut exec| {
            // A path counts from the kubeconfig's folder, a bare name from PATH.
            if exec.command.contains('/') {
                exec.command = folder.join(&exec.command).display().to_string();
            }
            exec
        });
        let nothing = access.certificate.is_none()
            && access.token.is_none()
            && access.basic.is_none()
            && access.exec.is_none();
        if user.auth_provider.is_some() && nothing {
            return Err(
                self.failed("auth-provider", "it was removed from Kubernetes in 1.26; use an exec plugin")
            );
        }
        Ok(())
    }

    fn pem(
        &self,
        what: &'static str,
        folder: &Path,
        data: Option<&str>,
        file: Option<&Path>,
    ) -> Result<Option<Secret<String>>, KubernetesError> {
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            let bytes = STANDARD.decode(data.trim()).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| self.failed(what, "its data is not base64 of PEM text"))?;
            return Ok(Some(Secret::new(text)));
        }
        let file = file.filter(|path| !path.as_os_str().is_empty());
        file.map(|path| self.file(what, &folder.join(path))).transpose()
    }

    fn file(&self, what: &'static str, path: &Path) -> Result<Secret<String>, KubernetesError> {
        (self.read)(path)
            .map_err(|error| self.failed(what, &format!("`{}` cannot be read: {error}", path.display())))
    }

    fn failed(&self, what: &'static str, why: &str) -> KubernetesError {
        KubernetesError::Credentials { context: self.context.to_owned(), what, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "apiVersion: v1
kind: Config
current-context: admin@home
clusters:
- name: home
  cluster: {server: 'https://10.0.0.1:6443', certificate-authority-data: Q0E=, tls-server-name: k8s}
contexts:
- name: admin@home
  context: {cluster: home, user: admin, namespace: x}
- name: lost
  context: {cluster: nowhere, user: admin}
users:
- name: admin
  user: {client-certificate: admin.crt, client-key: /etc/admin.key}
- name: plugin
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [a], env: null, installHint: get it}}
";

    fn read(path: &Path) -> std::io::Result<Secret<String>> {
        match path.to_str() {
            Some("/k/admin.crt") => Ok("CRT".into()),
            Some("/etc/admin.key") => Ok("KEY".into()),
            Some("/k/token") => Ok("from-file\n".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    fn config(more: &str) -> Result<Kubeconfig, KubernetesError> {
        let mut config = Kubeconfig::default();
        config.add(Path::new("/k/config"), CONFIG)?;
        config.add(Path::new("/k/more"), more)?;
        Ok(config)
    }

    #[test]
    fn a_context_is_put_together() {
        let access = config("").unwrap().access(None, &read).unwrap();
        assert_eq!(access.context, "admin@home");
        assert_eq!(access.server, "https://10.0.0.1:6443");
        assert_eq!(access.ca.as_deref(), Some("CA"));
        assert_eq!(access.server_name.as_deref(), Some("k8s"));
        assert_eq!(access.certificate.as_deref(), Some("CRT"));
        assert_eq!(access.key, Some("KEY".into()));
    }

    #[test]
    fn files_are_laid_over_each_other_and_the_first_counts() {
        let more = "current-context: other
clusters: [{name: home, cluster: {server: 'https://evil'}}]
contexts: [{name: other, context: {cluster: home, user: bot}}, {name: exec, context: {cluster: home, user: plugin}}]
users: [{name: bot, user: {token: inline, tokenFile: token}}]
";
        let config = config(more).unwrap();
        assert_eq!(config.access(None, &read).unwrap().context, "admin@home");
        let access = config.access(Some("other"), &read).unwrap();
        assert_eq!(access.server, "https://10.0.0.1:6443");
        assert_eq!(access.token, Some("from-file".into()));
        let exec = config.access(Some("exec"), &read).unwrap().exec.unwrap();
        assert_eq!(exec.command, "/k/./login");
        assert_eq!(exec.install_hint.as_deref(), Some("get it"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let error = |more: &str, context: Option<&str>| {
            let access = config(more).and_then(|config| config.access(context, &read));
            access.unwrap_err().to_string()
        };
        let user = |user: &str| {
            format!(
                "contexts: [{{name: c, context: {{cluster: home, user: u}}}}]\nusers: [{{name: u, user: {user}}}]\n"
            )
        };
        for (more, context, want) in [
            (String::new(), Some("x"), "the kubeconfig has no context `x`"),
            (
                String::new(),
                Some("lost"),
                "context `lost` names the cluster `nowhere`, which is not in the kubeconfig",
            ),
            (
                user("{client-key-data: '%'}"),
                Some("c"),
                "the client-key of context `c` cannot be used: its data is not base64 of PEM text",
            ),
            (
                user("{client-certificate: gone}"),
                Some("c"),
                "the client-certificate of context `c` cannot be used: `/k/gone` cannot be read: entity not found",
            ),
            (
                user("{auth-provider: {name: gcp}}"),
                Some("c"),
                "the auth-provider of context `c` cannot be used: it was removed from Kubernetes in 1.26; use an exec plugin",
            ),
            (
                "clusters: 1".to_owned(),
                None,
                "`/k/more` is not a valid kubeconfig: invalid type: integer, expected a sequence",
            ),
            (
                "users: [{name: u, user: 's3cr3t-token'}]".to_owned(),
                None,
                "`/k/more` is not a valid kubeconfig: invalid type: string, expected struct User",
            ),
        ] {
            assert_eq!(error(&more, context), want);
        }
        let none = Kubeconfig::default().access(None, &read).unwrap_err();
        assert_eq!(none.to_string(), "the kubeconfig names no current context");
    }
}

#![expect(clippy::disallowed_methods, reason = "runs the program that gives credentials")]

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::error::KubernetesError;
use super::kubeconfig::{Access, Exec, InteractiveMode};
use crate::secret::Secret;

/// What a plugin prints.
#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<Secret<String>>,
    client_certificate_data: Option<String>,
    client_key_data: Option<Secret<String>>,
}

/// Runs the exec plugin of an access, if it has one, and puts what it gives into the access.
///
/// The plugin talks to the user on standard error, and on standard input where that is a terminal and the kubeconfig's
/// `interactiveMode` allows it; anything else on standard input is ours. A certificate in
/// the kubeconfig stays beside a token of the plugin, as in kubectl.
pub(super) fn fill(access: &mut Access) -> Result<(), KubernetesError> {
    let Some(exec) = access.exec.take() else { return Ok(()) };
    let status = run(&exec, access)?;
    access.token = status.token.or(access.token.take());
    if let Some((certificate, key)) = status.client_certificate_data.zip(status.client_key_data) {
        (access.certificate, access.key) = (Some(certificate), Some(key));
    }
    Ok(())
}

fn run(exec: &Exec, access: &Access) -> Result<Status, KubernetesError> {
    let command = exec.command.clone();
    let failed = |why: String| KubernetesError::PluginFailed { command: command.clone(), why };
    let api_version = if exec.api_version.is_empty() {
        "client.authentication.k8s.io/v1"
    } else {
        exec.api_version.as_str()
    };
    let terminal = std::io::stdin().is_terminal();
    let interactive = match exec.interactive_mode {
        InteractiveMode::Never => false,
        InteractiveMode::IfAvailable => terminal,
        InteractiveMode::Always if terminal => true,
        InteractiveMode::Always => {
            return Err(failed(
                "it has to ask the user (`interactiveMode: Always`), and standard input is not a terminal"
                    .to_owned(),
            ));
        }
    };
    let mut info = json!({
        "apiVersion": api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": interactive},
    });
    if exec.provide_cluster_info
        && let Some(spec) = info.get_mut("spec").and_then(serde_json::Value::as_object_mut)
    {
        use base64::Engine as _;
        let ca = access.ca.as_ref().map(|ca| base64::engine::general_purpose::STANDARD.encode(ca));
        let cluster = json!({
            "server": access.server,
            "certificate-authority-data": ca,
            "insecure-skip-tls-verify": access.insecure,
            "tls-server-name": access.server_name,
        });
        spec.insert("cluster".to_owned(), cluster);
    }
    let mut process = Command::new(&exec.command);
    process.args(exec.args.as_deref().unwrap_or_default());
    for variable in exec.env.as_deref().unwrap_or_default() {
        process.env(&variable.name, variable.value.expose());
    }
    process.env("KUBERNETES_EXEC_INFO", info.to_string());
    let stdin = if interactive { Stdio::inherit() } else { Stdio::null() };
    process.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = process.output().map_err(|error| KubernetesError::PluginMissing {
        command: command.clone(),
        hint: exec.install_hint.clone(),
        error,
    })?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let bytes = Secret::new(output.stdout);
    let credential: ExecCredential = serde_json::from_slice(bytes.expose())
        .map_err(|_| failed("what it printed is not a valid ExecCredential".to_owned()))?;
    let status = credential.status.ok_or_else(|| failed("its ExecCredential has no status".to_owned()))?;
    match (&status.client_certificate_data, &status.client_key_data) {
        (None, None) if status.token.is_none() => {
            Err(failed("its ExecCredential holds neither a token nor a certificate".to_owned()))
        }
        (Some(_), None) => Err(failed("its ExecCredential holds a certificate without its key".to_owned())),
        (None, Some(_)) => Err(failed("its ExecCredential holds a key without its certificate".to_owned())),
        (None, None) | (Some(_), Some(_)) => Ok(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill_with(script: &str) -> Result<Access, KubernetesError> {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script], "env": [{"name": "GIVEN", "value": "abc"}]});
        let exec = serde_json::from_value(exec).unwrap();
        let mut access = Access { exec: Some(exec), ..Access::default() };
        fill(&mut access)?;
        Ok(access)
    }

    #[test]
    fn a_plugin_gives_a_token() {
        let access = fill_with(r#"printf '{"status":{"token":"%s"}}' "$GIVEN""#).unwrap();
        assert_eq!(access.token, Some("abc".into()));
        let script = r#"case "$KUBERNETES_EXEC_INFO" in *client.authentication.k8s.io/v1*) printf '{"status":{"clientCertificateData":"C","clientKeyData":"K"}}';; esac"#;
        let access = fill_with(script).unwrap();
        assert_eq!((access.certificate.as_deref(), access.key), (Some("C"), Some("K".into())));
    }

    #[test]
    fn a_plugin_that_fails_is_named() {
        for (script, want) in [
            ("exit 3", "the exec plugin `sh` failed: exit status: 3"),
            ("echo hello", "the exec plugin `sh` failed: what it printed is not a valid ExecCredential"),
            ("echo '{}'", "the exec plugin `sh` failed: its ExecCredential has no status"),
            (
                "echo '{\"status\":{}}'",
                "the exec plugin `sh` failed: its ExecCredential holds neither a token nor a certificate",
            ),
            (
                "echo '{\"status\":{\"token\":\"t\",\"clientCertificateData\":\"C\"}}'",
                "the exec plugin `sh` failed: its ExecCredential holds a certificate without its key",
            ),
            (
                "echo '{\"status\":{\"clientKeyData\":\"K\"}}'",
                "the exec plugin `sh` failed: its ExecCredential holds a key without its certificate",
            ),
        ] {
            assert_eq!(fill_with(script).unwrap_err().to_string(), want);
        }
        let exec = json!({"command": "/no/such/plugin", "installHint": "brew install plugin"});
        let mut access = Access { exec: Some(serde_json::from_value(exec).unwrap()), ..Access::default() };
        let error = fill(&mut access).unwrap_err();
        assert_eq!(error.to_string(), "the exec plugin `/no/such/plugin` cannot be run");
        assert_eq!(error.help().as_deref(), Some("brew install plugin"));
    }
}

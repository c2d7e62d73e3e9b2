use url::Url;

use super::catalog::{Cluster, GIT_SECRET, GITOPS, NAME, Template};
use super::render::{fill_line, render};
use super::setting::Setting;
use crate::secret::without_userinfo;

/// How manifests get into a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// `kubectl apply -k`.
    Kubectl,
    /// `helm install` with a file of values.
    Values,
    /// Flux applies them from a git repository.
    Flux,
    /// Argo CD applies them from a git repository.
    Argo,
}

/// A file that is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Where it goes, from the root of the output.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A template cannot be filled in like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FillError {
    #[error("template {template} has no setting `{name}`")]
    UnknownSetting { template: &'static str, name: String, known: Vec<&'static str> },
    #[error("`{value}` is not a valid {name}: it is {expected}")]
    Value { name: &'static str, value: String, expected: &'static str },
    #[error("template {template} is not for a cluster, so neither Flux nor Argo CD applies it")]
    NotForACluster { template: &'static str },
    #[error("template {template} is a Helm chart, which kubectl does not apply")]
    Chart { template: &'static str },
    #[error("template {template} is not a Helm chart and has no values")]
    NotAChart { template: &'static str },
    #[error("Flux reads `{repository}` with a key, and no Secret with one is named")]
    NoKey { repository: String },
}

impl FillError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownSetting { known, .. } => Some(format!("its settings are {}", known.join(", "))),
            Self::Value { .. } => None,
            Self::NotForACluster { .. } | Self::NotAChart { .. } => Some("leave --kind out".to_owned()),
            Self::NoKey { repository } => Some(format!(
                "make one by `flux create secret git talmirror-git --url={repository}`, and name it: --set git-secret=talmirror-git"
            )),
            Self::Chart { .. } => Some("name --kind values, flux or argo".to_owned()),
        }
    }
}

/// Renders a text without the lines of settings that are empty.
fn filled(text: &str, values: &[(&str, String)]) -> String {
    let empty: Vec<String> = values
        .iter()
        .filter(|(_, value)| value.is_empty())
        .map(|(name, _)| format!("{{{{{name}}}}}"))
        .collect();
    let kept =
        text.split_inclusive('\n').filter(|line| !empty.iter().any(|place| line.contains(place.as_str())));
    render(&kept.collect::<String>(), values)
}

/// Returns the port of a bucket's store that a policy has to open besides HTTPS', or nothing.
fn bucket_port(values: &[(&str, String)]) -> String {
    let value = |name| values.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value.as_str());
    let of_endpoint = Url::parse(value("endpoint")).ok().and_then(|url| url.port_or_known_default());
    let port = value("bucket-port").parse::<u16>().ok().or(of_endpoint);
    port.filter(|port| *port != 443).map(|port| port.to_string()).unwrap_or_default()
}

impl Template {
    /// Returns whether its files are objects of Kubernetes.
    pub fn is_for_clusters(&self) -> bool {
        matches!(self.cluster, Cluster::Objects { .. })
    }

    /// Returns the way of delivery where none is named.
    pub fn usual_delivery(&self) -> Delivery {
        match self.cluster {
            Cluster::Objects { .. } | Cluster::No => Delivery::Kubectl,
            Cluster::Chart => Delivery::Values,
        }
    }

    /// Returns what may be chosen with a way of delivery.
    pub fn settings_for(&self, delivery: Delivery) -> impl Iterator<Item = Setting> {
        let (name, more, secret) = match (self.cluster, delivery) {
            (Cluster::Objects { name }, Delivery::Flux) => (Some(name), GITOPS, Some(GIT_SECRET)),
            (Cluster::Objects { name }, Delivery::Argo) => (Some(name), GITOPS, None),
            (Cluster::Objects { .. }, Delivery::Kubectl | Delivery::Values)
            | (Cluster::Chart | Cluster::No, _) => (None, &[][..], None),
        };
        let name = name.map(|default| Setting { default, ..NAME });
        self.settings.iter().copied().chain(name).chain(more.iter().copied()).chain(secret)
    }

    /// Returns what may be chosen with a way of delivery, and what each is where nothing is.
    pub fn defaults(&self, delivery: Delivery) -> Vec<(Setting, String)> {
        let (mut values, mut defaults) = (Vec::new(), Vec::new());
        for setting in self.settings_for(delivery) {
            // It may be made of those before it.
            let value = fill_line(setting.default, &values);
            values.push((setting.name, value.clone()));
            defaults.push((setting, value));
        }
        defaults
    }

    /// Fills it in; of two values for one setting the later counts.
    ///
    /// # Errors
    /// When there is no such setting, a value is not what the setting takes, or the template is not for a cluster.
    pub fn fill(&self, delivery: Delivery, chosen: &[(String, String)]) -> Result<Vec<Rendered>, FillError> {
        match (self.cluster, delivery) {
            (Cluster::No, Delivery::Flux | Delivery::Argo) => {
                return Err(FillError::NotForACluster { template: self.name });
            }
            (Cluster::Chart, Delivery::Kubectl) => return Err(FillError::Chart { template: self.name }),
            (Cluster::No | Cluster::Objects { .. }, Delivery::Values) => {
                return Err(FillError::NotAChart { template: self.name });
            }
            (Cluster::No | Cluster::Objects { .. }, Delivery::Kubectl)
            | (Cluster::Objects { .. }, Delivery::Flux | Delivery::Argo)
            | (Cluster::Chart, Delivery::Values | Delivery::Flux | Delivery::Argo) => {}
        }
        if let Some((name, _)) =
            chosen.iter().find(|(name, _)| !self.settings_for(delivery).any(|own| own.name == name))
        {
            let known = self.settings_for(delivery).map(|setting| setting.name).collect();
            return Err(FillError::UnknownSetting { template: self.name, name: name.clone(), known });
        }
        let mut values = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        for setting in self.settings_for(delivery) {
            let given =
                chosen.iter().rev().find(|(name, _)| name == setting.name).map(|(_, value)| value.as_str());
            // A default may be made of what was chosen before it.
            let value = given.map_or_else(|| fill_line(setting.default, &values), str::to_owned);
            if !setting.form.accepts(&value) {
                let (value, expected) = (without_userinfo(&value), setting.form.expected());
                return Err(FillError::Value { name: setting.name, value, expected });
            }
            values.push((setting.name, value));
        }
        let port = bucket_port(&values);
        values
            .iter_mut()
            .filter(|(name, _)| *name == "bucket-port")
            .for_each(|(_, value)| value.clone_from(&port));
        if self.cluster == Cluster::Chart {
            return Ok(self.chart(delivery, values));
        }
        let value = |name| values.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
        if let (Delivery::Flux, Some(repository), Some("")) =
            (delivery, value("repository"), value("git-secret"))
            && repository.starts_with("ssh:")
        {
            return Err(FillError::NoKey { repository: repository.to_owned() });
        }
        let folder = value("path").map(|path| format!("{path}/")).unwrap_or_default();
        let mut files: Vec<Rendered> = self
            .files
            .iter()
            .map(|(path, text)| Rendered { path: format!("{folder}{path}"), text: filled(text, &values) })
            .collect();
        if self.is_for_clusters() {
            let names: String = self.files.iter().map(|(path, _)| format!("    - {path}\n")).collect();
            let text = format!(
                "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{names}"
            );
            files.push(Rendered { path: format!("{folder}kustomization.yaml"), text });
        }
        let gitops = match delivery {
            Delivery::Kubectl | Delivery::Values => None,
            Delivery::Flux => Some(("flux", include_str!("../../templates/deploy/gitops/flux.yaml"))),
            Delivery::Argo => Some(("argo", include_str!("../../templates/deploy/gitops/argo.yaml"))),
        };
        files.extend(gitops.map(|(tool, text)| Rendered {
            path: format!("{tool}/{}.yaml", value("name").unwrap_or(self.name)),
            text: filled(text, &values),
        }));
        Ok(files)
    }

    /// Fills a chart in: its values alone, or inside of what makes Flux or Argo CD install it.
    fn chart(&self, delivery: Delivery, mut values: Vec<(&str, String)>) -> Vec<Rendered> {
        let (folder, indent) = match delivery {
            Delivery::Kubectl | Delivery::Values => ("", 0),
            Delivery::Flux => ("flux/", 8),
            Delivery::Argo => ("argo/", 16),
        };
        let of_chart = self.files.iter().find(|(path, _)| !path.contains('/'));
        let of_chart = of_chart.map(|(_, text)| filled(text, &values)).unwrap_or_default();
        let lines = of_chart.lines().map(|line| format!("{}{line}\n", " ".repeat(indent)));
        values.push(("values", lines.collect()));
        let own = |(path, _): &&(&str, &str)| match folder {
            "" => !path.contains('/'),
            folder => path.starts_with(folder),
        };
        let file =
            |(path, text): &(&str, &str)| Rendered { path: (*path).to_owned(), text: filled(text, &values) };
        self.files.iter().filter(own).map(file).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::TEMPLATES;
    use super::*;

    #[test]
    fn every_template_is_filled_by_its_defaults() {
        let left = regex::Regex::new(r"\{\{[\w-]+\}\}").unwrap();
        for template in TEMPLATES {
            for delivery in [Delivery::Kubectl, Delivery::Values, Delivery::Flux, Delivery::Argo] {
                match template.fill(delivery, &[]) {
                    Ok(files) => {
                        for file in files {
                            assert!(
                                !left.is_match(&file.text),
                                "{} {}: {}",
                                template.name,
                                file.path,
                                file.text
                            );
                        }
                    }
                    Err(error) => {
                        let want = match (delivery, template.cluster) {
                            (Delivery::Values, _) => FillError::NotAChart { template: template.name },
                            (_, Cluster::Chart) => FillError::Chart { template: template.name },
                            _ => FillError::NotForACluster { template: template.name },
                        };
                        assert_eq!(error, want);
                    }
                }
            }
        }
    }

    /// A setting that changes nothing would be a promise that is not kept.
    #[test]
    fn every_setting_stands_somewhere() {
        for template in TEMPLATES {
            for setting in template.settings {
                let place = format!("{{{{{}}}}}", setting.name);
                let found = template.files.iter().any(|(_, text)| text.contains(&place));
                assert!(found, "{}: {}", template.name, setting.name);
            }
        }
    }

    #[test]
    fn refusals() {
        let template = super::super::find("statefulset").unwrap();
        let fill = |delivery, name: &str, value: &str| {
            template.fill(delivery, &[(name.to_owned(), value.to_owned())]).unwrap_err().to_string()
        };
        assert_eq!(fill(Delivery::Kubectl, "replica", "3"), "template statefulset has no setting `replica`");
        assert_eq!(fill(Delivery::Kubectl, "path", "x"), "template statefulset has no setting `path`");
        assert_eq!(
            fill(Delivery::Kubectl, "namespace", "a\nb: c"),
            "`a\nb: c` is not a valid namespace: it is a name of lower-case letters, digits and `-`"
        );
        assert_eq!(
            fill(Delivery::Flux, "repository", "https://me:s3cr3t-x@git.example/x"),
            "`https://git.example/x` is not a valid repository: it is the URL of a git repository without a password, such as \
             https://git.example/cluster or ssh://git@git.example/cluster"
        );
    }
}

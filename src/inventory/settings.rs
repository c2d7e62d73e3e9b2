use std::path::PathBuf;

use super::fields::{OUTPUT, ROLLOUT, TALOS, VERIFY};
use super::model::{Output, Rollout, Talos, Verify};
use crate::finding::Code;
use crate::finding::{Decoder, Fields};
use crate::registries::TalosVersion;
use crate::yaml::Node;

/// Settings of single commands.
impl Decoder<'_, '_> {
    pub(super) fn talos(&mut self, fields: &Fields<'_>) -> Talos {
        let Some(node) = fields.get("talos") else { return Talos::default() };
        let fields = self.fields(node, "talos", TALOS);
        Talos {
            version: self.talos_version(&fields),
            talosconfig: self.string(&fields, "talosconfig").map(PathBuf::from),
            context: self.string(&fields, "context"),
        }
    }

    pub(super) fn talos_version(&mut self, fields: &Fields<'_>) -> Option<TalosVersion> {
        let node = fields.get("version")?;
        let path = fields.at("version");
        let text = self.text(node, &path)?;
        text.parse()
            .map_err(|error| self.problems.add(Code::WrongType, &node.span, path, format!("{error}")))
            .ok()
    }

    pub(super) fn output(&mut self, fields: &Fields<'_>) -> Output {
        let Some(node) = fields.get("output") else { return Output::default() };
        let fields = self.fields(node, "output", OUTPUT);
        Output {
            dir: self.string(&fields, "dir").map(PathBuf::from),
            format: self.word(&fields, "format", &["auto", "json-patch", "strategic", "documents"]),
            layout: self.word(&fields, "layout", &["single", "per-group", "per-node"]),
            encrypt: self.word(&fields, "encrypt", &["sops", "none"]).map(|word| word == "sops"),
        }
    }

    pub(super) fn rollout(&mut self, fields: &Fields<'_>) -> Rollout {
        let defaults = Rollout::default();
        let Some(node) = fields.get("rollout") else { return defaults };
        let fields = self.fields(node, "rollout", ROLLOUT);
        let names = |list: Option<Vec<(String, &Node)>>| -> Option<Vec<String>> {
            Some(list?.into_iter().map(|(name, _)| name).collect())
        };
        Rollout {
            order: names(self.strings(&fields, "order")).unwrap_or(defaults.order),
            canary: names(self.strings(&fields, "canary")).unwrap_or(defaults.canary),
            max_parallel: self.count(&fields, "maxParallel").unwrap_or(defaults.max_parallel),
            max_failures: self.count(&fields, "maxFailures").unwrap_or(defaults.max_failures),
            try_timeout: self.duration(&fields, "tryTimeout").unwrap_or(defaults.try_timeout),
            reboot: self.word(&fields, "reboot", &["never", "if-needed"]).unwrap_or(defaults.reboot),
            pause: self.duration(&fields, "pause").unwrap_or(defaults.pause),
        }
    }

    pub(super) fn verify(&mut self, fields: &Fields<'_>) -> Verify {
        let defaults = Verify::default();
        let Some(node) = fields.get("verify") else { return defaults };
        let fields = self.fields(node, "verify", VERIFY);
        let mut images = Vec::new();
        for (text, item) in self.strings(&fields, "images").unwrap_or_default() {
            if let Err(error) = text.parse::<crate::image::Reference>() {
                self.problems.add(Code::WrongType, &item.span, fields.at("images"), error.to_string());
            }
            images.push(text);
        }
        Verify {
            images,
            require_mirror_hit: self
                .boolean(&fields, "requireMirrorHit")
                .unwrap_or(defaults.require_mirror_hit),
            timeout: self.duration(&fields, "timeout").unwrap_or(defaults.timeout),
        }
    }
}

//! Any text is an inventory or has findings with a place, and a valid one gives every node a patch in every form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::inventory::{Target, parse};
use talmirror::patch::{Format, Parts, Versions, plain};
use talmirror::secret::{Hidden, Sources};

fuzz_target!(|text: &str| {
    let parsed = parse(text, "fuzz", &|_| None);
    let Some(inventory) = parsed.inventory else {
        assert!(!parsed.problems.is_empty());
        return;
    };
    let mut sources = Sources::new("/nonexistent");
    for version in ["v1.8", "v1.11", "v1.12.1", "v1.13", "v1.14"] {
        let talos = version.parse().expect("a version");
        for target in std::iter::once(Target::Base).chain(inventory.nodes.keys().map(|name| Target::Node(name))) {
            let Ok(registries) = inventory.registries(target, &talos, &mut Hidden(&mut sources)) else { continue };
            let versions = Versions { talos: Some(talos.clone()), talosctl: None };
            for format in [Format::JsonPatch, Format::Strategic, Format::Documents] {
                let _ = plain(format, &Parts::whole(registries.clone()), &versions);
            }
        }
    }
});

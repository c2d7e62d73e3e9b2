//! No request gets out of the closed world, and none brings a name that is not a name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::image::Repository;
use talmirror::oci::{Namespaces, Route, parse_route};

fuzz_target!(|url: &str| {
    let registries = ["docker.io", "ghcr.io", "h:5000"].map(|host| host.parse().expect("a registry"));
    let world = Namespaces::new(registries.clone(), registries.first());
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let Ok(Route::Object { name, .. }) = parse_route("GET", path, query) else { return };
    let Ok(place) = world.place(&name) else { return };
    assert!(registries.contains(place.registry));
    assert_eq!(place.repository.as_str().split('/').find(|part| matches!(*part, "" | "." | "..")), None);
    assert!(place.repository.as_str().parse::<Repository>().is_ok());
});

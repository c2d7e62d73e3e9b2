use x509_parser::pem::Pem;

/// Checks that a text holds one certificate or more, as Talos does (`registry_tls.go`, `Validate`).
pub(super) fn check_certificates(text: &str) -> Result<(), String> {
    let mut count = 0;
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.map_err(|_| "is not PEM".to_owned())?;
        if block.label != "CERTIFICATE" {
            return Err(format!("holds a {} and not a certificate", block.label.to_lowercase()));
        }
        block.parse_x509().map_err(|_| "holds a certificate that cannot be read".to_owned())?;
        count += 1;
    }
    if count == 0 { Err("holds no certificate".to_owned()) } else { Ok(()) }
}

/// Checks that a text holds a private key.
pub(super) fn check_key(text: &str) -> Result<(), String> {
    let labels: Vec<String> =
        Pem::iter_from_buffer(text.as_bytes()).filter_map(|block| Some(block.ok()?.label)).collect();
    if labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
        Ok(())
    } else {
        Err("holds no private key".to_owned())
    }
}

use sd_notify::NotifyState;

/// Tells the service manager, if there is one, that requests are taken.
pub(super) fn notify_ready() {
    send(&[NotifyState::Ready]);
}

/// Tells it that settings are read again; [`notify_ready`] has to follow.
pub(super) fn notify_reloading() {
    // systemd 253 and later want to know since when.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell the service manager about the reload"),
    }
}

/// Tells it that the process is about to end.
pub(super) fn notify_stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

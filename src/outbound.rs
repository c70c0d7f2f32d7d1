//! What the server asks of other servers over HTTP: how its clients are made.

use std::sync::Once;

/// A client that follows no redirects; timeouts are for the caller to set.
pub fn client() -> reqwest::ClientBuilder {
    choose_tls();
    reqwest::Client::builder()
        .user_agent(concat!("bambisleep-chat/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
}

/// Chooses the cryptography of TLS for the whole process, once: whatever makes HTTPS clients needs it.
pub fn choose_tls() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // Fails only where somebody has chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

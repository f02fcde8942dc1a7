//! The control socket and the page.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Settings;
use crate::exit::{Exit, Failed};

/// The control socket and the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebConfig {
    /// The control socket.
    pub control: ControlPlace,
    /// The addresses of the page.
    pub listen: Vec<SocketAddr>,
    /// The file with the token.
    pub token: Option<PathBuf>,
}

/// The place of the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlPlace {
    /// The default place, if it can be had.
    Default,
    /// This one.
    At(PathBuf),
    /// None.
    Off,
}

impl WebConfig {
    pub(super) fn of(settings: &Settings) -> Result<Self, Failed> {
        let control = match &settings.control {
            None => ControlPlace::Default,
            Some(none) if none.as_os_str() == "none" => ControlPlace::Off,
            Some(place) => ControlPlace::At(place.clone()),
        };
        let open = settings.web.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = open.filter(|_| settings.web_token.is_none()) {
            let message = format!(
                "web {address}: other machines reach this address, and no token is set. Name a file with a token in web-token, or \
                 listen on 127.0.0.1"
            );
            return Err(Failed::new(Exit::Usage, message));
        }
        Ok(Self { control, listen: settings.web.clone(), token: settings.web_token.clone() })
    }
}

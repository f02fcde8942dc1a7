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
    /// An address that is told of verdicts and boots, or a program with its arguments.
    pub on_event: Vec<String>,
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
    /// Whether anything is shown at all.
    pub fn is_on(&self) -> bool {
        self.control != ControlPlace::Off || !self.listen.is_empty()
    }

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
        let is_address = |text: &String| text.contains("://");
        let has_control = |text: &String| text.chars().any(char::is_control);
        if settings.on_event.iter().any(has_control) {
            return Err(Failed::new(Exit::Usage, "on-event: a control character"));
        }
        if let Some(address) = settings.on_event.first().filter(|target| is_address(target))
            && (settings.on_event.len() > 1
                || !(address.starts_with("https://") || address.starts_with("http://")))
        {
            let message = format!(
                "on-event {address}: name one address that begins with https:// or http://, or a program and its arguments"
            );
            return Err(Failed::new(Exit::Usage, message));
        }
        let (listen, token) = (settings.web.clone(), settings.web_token.clone());
        Ok(Self { control, listen, token, on_event: settings.on_event.clone() })
    }
}

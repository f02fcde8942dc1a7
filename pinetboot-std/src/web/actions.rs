//! Actions by the page: the process of NFS does them, and checks the token once more. The process of the page has no right to.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use percent_encoding::percent_decode_str;

use super::aside::Aside;
use super::html::Html;
use crate::bus::Bus;
use crate::config::NfsMode;
use crate::events::Server;
use crate::pis::pi;
use crate::roots::BootRoots;
use crate::roots::actions::Action;

/// What can be done here, and its forms.
#[derive(Debug)]
pub(super) struct Actions {
    roots: Arc<BootRoots>,
    form_key: String,
    bus: Bus,
    aside: Aside,
}

/// The fields of a form.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Actions {
    pub(super) fn new(roots: Arc<BootRoots>, form_key: String, bus: Bus) -> Self {
        Self { roots, form_key, bus, aside: Aside::default() }
    }

    /// The forms of a Pi; empty where Pis have no layers.
    pub(super) fn of_pi(&self, id: &str) -> Html {
        let mut html = Html::default();
        if self.roots.mode() == NfsMode::Overlay {
            html.markup("<h2>Root</h2><p>");
            self.form(&mut html, "reset", ("pi", id), "Reset at the next boot");
            html.markup(" ");
            self.form(&mut html, "keep", ("pi", id), "Call the reset off");
            html.markup("</p><p><small>A reset discards all changes: the Pi gets its image anew. Name, machine-id and SSH host keys stay.</small></p>");
        }
        html
    }

    /// The form of an image that is not the current one.
    pub(super) fn of_image(&self, name: &str) -> Html {
        let mut html = Html::default();
        self.form(&mut html, "use", ("image", name), "Make current");
        html
    }

    fn form(
        &self,
        html: &mut Html,
        action: &'static str,
        (field, of): (&'static str, &str),
        button: &'static str,
    ) {
        html.markup("<form method=\"post\" action=\"/actions\"><input type=\"hidden\" name=\"key\" value=\"");
        html.text(&self.form_key).markup("\"><input type=\"hidden\" name=\"action\" value=\"").markup(action);
        html.markup("\"><input type=\"hidden\" name=\"").markup(field).markup("\" value=\"").text(of);
        html.markup("\"><button>").markup(button).markup("</button></form>");
    }

    /// Does what a form asks for; what was done, once it is done.
    ///
    /// # Errors
    ///
    /// The reason why nothing was done.
    pub(super) async fn run(&self, form: &Form, token: &str) -> Result<String, String> {
        let of = |field| form.field(field).ok_or_else(|| format!("the field {field} is missing"));
        let pi = || pi(of("pi")?).ok_or_else(|| "the field pi names no Pi".to_owned());
        let action = match of("action")? {
            "reset" => Action::Reset { pi: pi()? },
            "keep" => Action::Keep { pi: pi()? },
            "use" => Action::Use { image: of("image")?.to_owned() },
            _ => return Err("the field action must be reset, keep or use".into()),
        };
        let (roots, token) = (Arc::clone(&self.roots), token.to_owned());
        let done = self.aside.run("action", BUSY, move || roots.act(&token, action)).await?;
        self.bus.emit(None, Server::Acted { what: done.clone() });
        Ok(done)
    }
}

impl Form {
    /// Reads a form; `None`: it is too long, or the client went away.
    pub(super) async fn read(mut body: Incoming) -> Option<Self> {
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let data = frame.ok()?.into_data().unwrap_or_default();
            if bytes.len() + data.len() > LONGEST {
                return None;
            }
            bytes.extend_from_slice(&data);
        }
        Some(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> Self {
        let decoded =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Bytes of a form.
const LONGEST: usize = 4096;
const BUSY: &str =
    "another action is under way: try again. If that goes on, the process of NFS or its disk does not answer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read() {
        let form = Form::parse("action=use&image=a%2Bb+c&&x&key=");
        assert_eq!((form.field("action"), form.field("image")), (Some("use"), Some("a+b c")));
        assert_eq!((form.field("key"), form.field("x"), form.field("")), (Some(""), None, None));
    }
}

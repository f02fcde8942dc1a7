//! Whether the server becomes a service of systemd, or serves until ctrl-C.

use std::path::Path;

use super::ask::{Ask, Question};
use super::{Args, told};
use crate::exit::{Exit, Failed};
use crate::output::Output;
use crate::service;

/// The choice of the options, else of the operator. Without systemd there is no choice, and no question.
///
/// # Errors
///
/// If `--service` is given and cannot be, or the question has no answer.
pub(super) fn choose(options: &Args, ask: Ask, out: &mut Output) -> Result<bool, Failed> {
    let obstacle = obstacle(&options.config);
    if options.service {
        if let Some(why) = obstacle {
            return Err(Failed::new(Exit::Usage, format!("--service: {why}")));
        }
        told(out, "service", "yes", "--service")?;
        return Ok(true);
    }
    if options.no_service || obstacle.is_some() {
        return Ok(false);
    }
    let question = Question {
        argument: "--service",
        text: "Install a service, which starts the server with this machine?",
        default: Some("no".into()),
        why: "the boots are shown here; 'pinetboot service install' makes it one later",
    };
    ask.ask(&question, Ask::yes_or_no, out)
}

fn obstacle(config: &Path) -> Option<String> {
    if config != Path::new(service::CONFIGURATION) {
        let config = config.display();
        return Some(format!("the service reads {}, and --config is {config}", service::CONFIGURATION));
    }
    service::without_systemd().map(str::to_owned)
}

//! The survey as text.

use std::io::{self, Write};

use super::survey::{Offered, Survey};
use super::tftp::{Answer, Tftp};
use crate::finding::Severity;
use crate::text::wrap;

impl Survey {
    /// Prints the survey, without the heading.
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for (index, offer) in self.offers.iter().enumerate() {
            print_offer(index + 1, offer, out)?;
        }
        if let Some(server) = &self.boot_server {
            let (address, by) = (server.address, server.by_offer + 1);
            writeln!(out, "Boot server: {address} (offer {by}), because of {}.", server.named_by)?;
            let (client, given_by) = (server.client_address, server.given_by_offer + 1);
            writeln!(out, "The client's address: {client} (offer {given_by}).")?;
            if let Some(tftp) = &self.tftp {
                print_tftp(tftp, out)?;
            }
            if let Some(services) = &self.root_services {
                writeln!(out, "NFS root: {services}")?;
            }
            if let Some(why) = &self.tftp_not_tested {
                writeln!(out, "{}", wrap(&format!("TFTP: not tested, {why}."), WIDTH, "  "))?;
            }
            writeln!(out)?;
        }
        if self.findings.of(Severity::Problem).next().is_none() {
            writeln!(out, "{}", wrap(&self.reason, WIDTH, "  "))?;
        }
        for finding in self.findings.iter() {
            writeln!(out, "{}", wrap(&finding.to_string(), WIDTH, "  "))?;
        }
        Ok(())
    }
}

fn print_offer(number: usize, offer: &Offered, out: &mut dyn Write) -> io::Result<()> {
    let seconds = offer.after_ms as f64 / 1e3;
    let what = offer.address.map_or("no address: a proxy".into(), |address| address.to_string());
    writeln!(out, "Offer {number} from {}, after {seconds:.2} s: {what}", offer.from)?;
    let fields = [
        ("siaddr (next-server)", offer.next_server.map(|address| address.to_string())),
        ("giaddr (relay)", offer.relay.map(|address| address.to_string())),
        ("sname", offer.server_name.as_ref().map(|name| format!("\"{name}\""))),
        ("boot file", offer.boot_file.as_ref().map(|name| format!("\"{name}\""))),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            writeln!(out, "  {name}: {value}")?;
        }
    }
    for option in &offer.options {
        let name = option.name.map_or(String::new(), |name| format!(" ({name})"));
        writeln!(
            out,
            "{}",
            wrap(&format!("  option {}{name}: {}", option.code, option.value), WIDTH, "    ")
        )?;
    }
    writeln!(out)
}

fn print_tftp(tftp: &Tftp, out: &mut dyn Write) -> io::Result<()> {
    let from = tftp.asked_from;
    for file in &tftp.files {
        let answer = match (file.answer, file.bytes) {
            (Answer::There, Some(bytes)) => format!("found, {bytes} bytes"),
            (Answer::There, None) => "found".into(),
            (Answer::Missing, _) => "missing".into(),
            (Answer::None, _) => "no answer".into(),
        };
        writeln!(out, "TFTP, from {from}: {}: {answer}", file.name)?;
    }
    Ok(())
}

/// Columns of the text.
const WIDTH: usize = 100;

//! The checks that must hold on any machine, however noisy: for CI.

use crate::Failed;
use crate::peer::{DNSMASQ, PINETBOOT};
use crate::results::{Results, Spread};

/// Fails with the list of all violated checks.
pub(crate) fn check(results: &Results) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    if results.samples.is_empty() {
        wrong.push("nothing was measured".to_owned());
    }
    let median = |server: &str, point: &str| {
        Spread::of(results.at(point, server).iter().map(|sample| sample.rate)).map(|spread| spread.median)
    };
    for sample in results.samples.iter().filter(|sample| sample.server == PINETBOOT) {
        let Some(error) = &sample.error else {
            if sample.failed + sample.wrong > 0 {
                wrong.push(format!("{}: {} clients failed", sample.point, sample.failed));
            }
            continue;
        };
        wrong.push(format!("{}: {error}", sample.point));
    }
    for (point, than) in NOT_SLOWER {
        if let (Some(ours), Some(theirs)) = (median(PINETBOOT, point), median(than, point)) {
            println!("{point}: {ours:.0} against {theirs:.0} of {than}");
            if ours < theirs {
                wrong.push(format!("{point}: {ours:.0}, slower than {than} with {theirs:.0}"));
            }
        }
    }
    let (point, than) = NO_MORE_TIME;
    let time = |server: &str| {
        let times = results.at(point, server).into_iter().filter_map(|sample| sample.cpu);
        Spread::of(times).map(|spread| spread.median)
    };
    if let (Some(ours), Some(theirs)) = (time(PINETBOOT), time(than)) {
        println!("{point}: {ours:.2} us of processor time a block against {theirs:.2} of {than}");
        if ours > theirs {
            wrong.push(format!("{point}: {ours:.2} us of processor time a block, {than} {theirs:.2}"));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}

/// Points at which the distance is far beyond any noise.
const NOT_SLOWER: [(&str, &str); 2] = [("100-clients", "tftpd-hpa"), ("storm", "tftpd-hpa")];

/// A point at which a block takes no more of the server's processor time than one of this other.
const NO_MORE_TIME: (&str, &str) = ("xdp-100-one-core", DNSMASQ);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    fn results(ours: f64, failed: u64) -> Results {
        let sample = |server: &str, rate| Sample {
            point: "100-clients".into(),
            server: server.into(),
            rate,
            ..Sample::default()
        };
        let ours = Sample { failed, ..sample(PINETBOOT, ours) };
        Results { samples: vec![ours, sample("tftpd-hpa", 50_000.0)], ..Results::default() }
    }

    #[test]
    fn what_does_not_hold_is_said() {
        assert!(check(&results(60_000.0, 0)).is_ok());
        assert!(check(&results(40_000.0, 0)).is_err());
        assert!(check(&results(60_000.0, 1)).is_err());
        let mut broken = results(60_000.0, 0);
        broken.samples[0].error = Some("does not answer".into());
        assert!(check(&broken).is_err());
        assert!(check(&Results::default()).is_err());
        let times = |ours, theirs| {
            let of = |server: &str, cpu| Sample {
                point: "xdp-100-one-core".into(),
                server: server.into(),
                cpu: Some(cpu),
                ..Sample::default()
            };
            Results { samples: vec![of(PINETBOOT, ours), of(DNSMASQ, theirs)], ..Results::default() }
        };
        assert!(check(&times(5.0, 6.0)).is_ok());
        assert!(check(&times(7.0, 6.0)).is_err());
    }
}

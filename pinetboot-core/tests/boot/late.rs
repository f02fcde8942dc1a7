//! A server that is late, stopped, or loses messages: what it did not hear is no silence of a Pi, and what waited no repetition.

use core::time::Duration;

use pinetboot_core::pi::boot::State;

use super::cases::{ALL, DHCP, KERNEL, MOUNTED};
use super::healthy::{KINDS, NETWORKS, Random};
use super::script::{Run, Who};

/// Plays a script of which no verdict may come.
fn healthy(who: Who, script: &str) -> Run {
    let mut run = Run::new(who, ALL);
    run.at_once(script);
    assert_eq!(run.numbers(), <[Vec<u8>; 0]>::default(), "{script}: {:?}", run.boot);
    run
}

/// A boot ROM asks five times; a server that was stopped reads all of them at once.
#[test]
fn messages_that_waited_are_no_repetitions() {
    let run = healthy(
        Who::Pi3,
        &format!("freeze25 {} heard request address bootcode.bin", "discover lease-offer ".repeat(5)),
    );
    assert!(run.is_at(State::Fetching));
    healthy(Who::Pi5, "discover lease-offer request address request address request address +7 config.txt");
    healthy(Who::Pi5, &format!("{DHCP} arp-here arp-here arp-here arp-here +7 config.txt"));
    // Of the first file, before which nothing shows that answers arrive.
    healthy(Who::Pi5, &format!("{DHCP} ..config.txt started again again again again +3 config.txt"));
}

/// DHCP messages wait in another queue than requests for files.
#[test]
fn dhcp_messages_that_come_after_the_kernel_are_of_its_boot() {
    for late in ["discover", "discover lease-offer request address", "request address", "address"] {
        let run = healthy(Who::Pi5, &format!("{KERNEL} {late}"));
        assert!(run.is_at(State::KernelSent), "{late}: {:?}", run.boot);
        assert_eq!(run.boots, 1, "{late}");
        let run = healthy(Who::Pi5, &format!("{MOUNTED} {late}"));
        assert!(run.is_at(State::Up), "{late}: {:?}", run.boot);
    }
    // All of them.
    let files = KERNEL.strip_prefix(DHCP).unwrap();
    for cut in files.match_indices(' ').map(|(at, _)| at).skip(1) {
        let (first, last) = files.split_at(cut);
        assert_eq!(healthy(Who::Pi5, &format!("{first} {DHCP} {last}")).boots, 1, "{first}");
    }
    assert_eq!(healthy(Who::Pi5, &format!("{files} {DHCP}")).boots, 1);
    // The next boot.
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("{KERNEL} new-xid {DHCP}"));
    assert!(run.is_at(State::Addressed));
    assert_eq!(run.boots, 2);
}

/// A server without a file yet (a slow disk) has not answered.
#[test]
fn a_pi_that_waits_for_this_server_repeats_nothing() {
    healthy(
        Who::Pi5,
        &format!("{DHCP} ..config.txt again +2 again +2 again +2 again +2 started +1 config.txt"),
    );
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("{DHCP} ..config.txt started +2 again +2 again +2 again +2"));
    assert_eq!(run.numbers(), [[16]]);
}

/// A silence is told by the clock alone, which comes when the server has handled what waited.
#[test]
fn what_is_in_the_queue_comes_before_a_verdict() {
    // Three DISCOVERs, and a stop: a fourth DISCOVER is before the REQUEST in the queue.
    healthy(
        Who::Pi5,
        "discover lease-offer +4 discover lease-offer +4 discover lease-offer freeze20 discover request address heard config.txt",
    );
    healthy(
        Who::Pi5,
        &format!(
            "{KERNEL} freeze60 linux linux linux late heard linux-request address connect mount active write +600"
        ),
    );
    healthy(Who::Pi5, &format!("{MOUNTED} +60 lost freeze60 active heard +600"));
    // An ARP request of another board's kernel shows no progress.
    healthy(Who::Pi5, &format!("{DHCP} freeze20 arp-here config.txt heard"));
}

#[test]
fn a_silence_begins_anew_when_messages_were_lost() {
    for (script, lasts) in [
        (KERNEL, 20),
        (DHCP, 8),
        ("discover lease-offer request address config.txt -pieeprom.sig -bcm2712-rpi-5-b.dtb", 10),
    ] {
        let mut run = Run::new(Who::Pi5, ALL);
        run.at_once(script);
        for _ in 0..20 {
            run.pass(Duration::from_secs(lasts - 1));
            run.late();
        }
        assert_eq!(run.numbers(), <[Vec<u8>; 0]>::default(), "{script}");
        run.pass(Duration::from_secs(lasts + 1));
        assert_eq!(run.numbers().len(), 1, "{script}: heard again, and silent");
    }
    // A message is no silence.
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("{MOUNTED} late bad-handle"));
    assert_eq!(run.numbers(), [[96, 54]]);
}

#[test]
fn repetitions_count_anew_when_messages_were_lost() {
    let asked = "discover lease-offer +4 discover lease-offer";
    let run = healthy(
        Who::Pi5,
        &format!("{asked} late +4 {asked} late +4 {asked} late +4 {asked} request address config.txt"),
    );
    assert!(run.is_at(State::Fetching));
    // The same Pi, and a server that hears all.
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("{asked} late +4 {asked} +4 discover lease-offer +20"));
    assert_eq!(run.numbers(), [[55, 56]]);
}

#[test]
fn a_transfer_that_stood_still_with_the_server_goes_on() {
    let stopped = "config.txt ..initramfs_2712 started freeze25";
    healthy(Who::Pi5, &format!("{stopped} stalled late heard +8 moves +60 initramfs_2712"));
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("{stopped} stalled late heard +60"));
    assert_eq!(run.numbers(), [[24]]);
}

/// A boot ROM that gave up while the server was stopped.
#[test]
fn a_pi_that_asked_in_vain_is_told_as_that() {
    let mut run = Run::new(Who::Pi3, ALL);
    run.at_once(&format!("freeze25 {} late heard +120", "discover lease-offer ".repeat(5)));
    assert_eq!(run.numbers(), [[65]]);
    run.at_once("new-xid discover lease-offer request address bootcode.bin");
    assert_eq!(run.gone_on.len(), 1);
    // A probe of the network.
    healthy(Who::Pi5, "discover lease-offer late +600");
}

/// A word of a Pi that repeats itself while the server stands still.
fn with_stop(script: &str, random: &mut Random) -> String {
    let mut words: Vec<String> = script.split_whitespace().map(str::to_owned).collect();
    let place = random.below(words.len() as u64) as usize;
    let word = words[place].clone();
    let seconds = 1 + random.below(40);
    let count = 1 + seconds as usize / 4;
    let queue = match word.as_str() {
        "discover" | "linux" | "connect" => format!("{word} ").repeat(count),
        "request" | "linux-request" => format!("{word} {word}"),
        name if name.contains('.') && !name.starts_with(['+', '-', '?', '!', '.']) => {
            format!("..{name} {}", "again ".repeat(count))
        }
        _ => word.clone(),
    };
    let late = if random.below(2) == 0 { format!("late {queue}") } else { format!("{queue} late") };
    // The time passes for the Pi too: what it does next is the answer's.
    let is_time = word.starts_with('+');
    words.insert(place, format!("freeze{seconds} {}", if is_time { "late".into() } else { late }));
    words.insert(place + if is_time { 1 } else { 2 }, "heard".into());
    words.join(" ")
}

/// The counter-corpus on a server that is stopped for up to 40 s in each boot.
#[test]
fn no_healthy_boot_on_a_late_server_gets_a_verdict() {
    let mut boots = 0;
    for kind in KINDS {
        for (number, network) in NETWORKS.iter().enumerate() {
            for seed in 0..24 {
                let mut random = Random::new(seed * 104_729 + number as u64);
                let mut run = Run::new(kind.who, network.hearing);
                let then = kind.then.replace("{dhcp}", network.kernel);
                let script = with_stop(&format!("{} {} {then}", network.dhcp, kind.files), &mut random);
                run.play(&script, || random.time(Duration::from_millis(500)));
                boots += 1;
                let name = kind.name;
                assert_eq!(
                    run.numbers(),
                    <[Vec<u8>; 0]>::default(),
                    "{name}, network {number}, seed {seed}: {:?}\n{script}",
                    run.said
                );
            }
        }
    }
    println!("healthy boots on a late server without a verdict: {boots}");
}

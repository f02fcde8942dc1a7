//! Actions by the page: by POST and with the token alone, and told after they are done.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::namespace::SOON;
use super::world::{TWO, World, run};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PAGE: &str = "10.77.1.1:8080";

/// A request from the server's own machine; status and body.
fn ask(world: &World, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {PAGE}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    let answer = world.server.enter(|| {
        let mut stream = TcpStream::connect(PAGE).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

fn is_marked(world: &World) -> bool {
    world.roots(&["list", "--json"]).contains("reset-pending")
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn what_pis_do_with_their_roots_is_counted_and_measured() {
    let world = World::new();
    let token = world.path("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let server = world.serve(&["--web", PAGE, "--web-token", &token]);
    world.two.boot(TWO);
    fs::write(world.path("large"), vec![7; 300_000]).unwrap();
    world.two.put("large", &format!("{TWO}/etc/large")).unwrap();
    assert_eq!(world.two.cat(&format!("{TWO}/etc/motd")).unwrap(), "hello\n");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let began = std::time::Instant::now();
    // Calls are told every 5 s, a layer is measured within some seconds.
    let metrics = loop {
        let (_, metrics) = ask(&world, "GET", "/metrics", &bearer, "");
        let value = |name: &str| {
            let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.map_or(0, |value| value.parse::<u64>().unwrap())
        };
        let space = value(&format!("pinetboot_pi_space_bytes{{pi=\"{TWO}\",storage=\"layer\"}}"));
        let written = value("pinetboot_nfs_written_bytes_total");
        let reads = value("pinetboot_nfs_calls_total{procedure=\"read\"}");
        if space >= 300_000 && written == 300_000 && reads > 0 && value("pinetboot_nfs_read_bytes_total") >= 6
        {
            break metrics;
        }
        assert!(began.elapsed() < SOON, "{metrics}");
        std::thread::yield_now();
    };
    assert!(metrics.contains("pinetboot_nfs_calls_total{procedure=\"commit\"} "), "{metrics}");
    let (_, status) = ask(&world, "GET", "/api/v1/status", &bearer, "");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["pis"][0]["space-bytes"].as_u64().unwrap() >= 300_000, "{status:#}");
    let (_, page) = ask(&world, "GET", &format!("/pi/{TWO}"), &bearer, "");
    assert!(page.contains("space of its changes"), "{page}");
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_root_is_reset_and_an_image_switched_by_the_page() {
    let world = World::new();
    let (one, two) = (world.path("images/one"), world.path("images/two"));
    assert!(run(Command::new("cp").args(["-a", &one, &two])).0);
    fs::write(world.path("token"), format!("{TOKEN}\n")).unwrap();
    let (token, control) = (world.path("token"), world.path("control"));
    let mut server = world.serve(&["--web", PAGE, "--web-token", &token, "--control", &control]);
    world.two.boot(TWO);
    world.two.list(&format!("{TWO}/etc")).unwrap();

    let (bearer, cookie) =
        (format!("Authorization: Bearer {TOKEN}\r\n"), format!("Cookie: pinetboot-token={TOKEN}\r\n"));
    let reset = format!("action=reset&pi={TWO}");
    // No token, no form of the page, another origin, no POST: nothing is done.
    let own = format!("{cookie}Origin: http://{PAGE}\r\n");
    for (method, headers, expected) in [
        ("POST", "", "401"),
        ("POST", cookie.as_str(), "403"),
        ("POST", &own, "403"),
        ("GET", &bearer, "404"),
    ] {
        let path = if method == "GET" { format!("/actions?{reset}") } else { "/actions".into() };
        assert_eq!(ask(&world, method, &path, headers, &reset).0, expected, "{method} {headers}");
        assert!(!is_marked(&world), "{method} {headers}");
    }
    let (status, said) = ask(&world, "POST", "/actions", &bearer, &reset);
    assert!(status == "200" && said.contains("is reset when"), "{status} {said}");
    assert!(is_marked(&world));
    let (status, said) = ask(&world, "POST", "/actions", &bearer, &format!("action=keep&pi={TWO}"));
    assert!(status == "200" && said.contains("is kept"), "{status} {said}");
    assert!(!is_marked(&world));
    for (wrong, expected) in [
        ("action=use&image=three", "409"),
        ("action=use&image=../one", "409"),
        ("action=reset&pi=00000001", "409"),
        ("action=reset&pi=..", "409"),
        ("action=remove&pi=00000001", "409"),
        ("", "409"),
    ] {
        assert_eq!(ask(&world, "POST", "/actions", &bearer, wrong).0, expected, "{wrong}");
    }

    // As a browser does: the key is in the page.
    let (_, page) = ask(&world, "GET", "/images", &cookie, "");
    let key = page.split("name=\"key\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = format!("key={key}&action=use&image=two");
    assert_eq!(ask(&world, "POST", "/actions", &cookie, &form).0, "403", "no origin");
    assert_eq!(fs::read_link(world.path("current")).unwrap().to_str(), Some("images/one"));
    let (status, page) = ask(&world, "POST", "/actions", &own, &form);
    assert!(status == "200" && page.contains("two is the current image, instead of one"), "{status} {page}");
    assert_eq!(fs::read_link(world.path("current")).unwrap().to_str(), Some("images/two"));
    server.line("by the page: two is the current image, instead of one", SOON);
    server.stop();
}

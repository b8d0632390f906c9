//! Tests the three layers, the rules, and the message when a rule is broken.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use batuta_config::key::KEYS;
use batuta_config::validated::{AuditFailure, AuditLevel};
use batuta_config::{ConfigError, Loaded, load};

const SINGLE: (&str, &str) = ("cluster.peers", "batuta-0=127.0.0.1:7070");

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn variables(given: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    given.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn from(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let directory =
        std::env::temp_dir().join(format!("batuta-config-{}-{:p}", std::process::id(), &raw const toml));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("node.toml");
    std::fs::write(&file, toml).unwrap();
    let loaded = load(Some(&file), &variables(environment), &pairs(flags));
    std::fs::remove_dir_all(&directory).unwrap();
    loaded
}

fn refused(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], words: &[&str]) {
    let message = from(toml, environment, flags).map(|loaded| loaded.show(true)).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

#[test]
fn later_layer_wins_and_origin_is_remembered() {
    let toml = "[raft]\nheartbeat_ms = 100\nsnapshot_entries = 7\n\n[log]\nlevel = \"warn\"\n";
    let loaded = from(
        toml,
        &[("BATUTA_RAFT_HEARTBEAT_MS", "90"), ("BATUTA_LOG_LEVEL", "debug"), ("HOME", "/root")],
        &[SINGLE, ("log.level", "trace")],
    )
    .unwrap();
    assert_eq!(loaded.config.raft.heartbeat_ms, 90);
    assert_eq!(loaded.config.raft.snapshot_entries, 7);
    assert_eq!(loaded.config.log.level.as_str(), "trace");
    let shown = loaded.show(true);
    for line in [
        "heartbeat_ms = 90 # from env BATUTA_RAFT_HEARTBEAT_MS",
        "node.toml:3",
        "level = \"trace\" # from flag --log-level",
        "rest = \"127.0.0.1:8080\" # from default",
    ] {
        assert!(shown.contains(line), "{shown}\ndoes not contain {line:?}");
    }
}

#[test]
fn shown_configuration_loads_to_the_same() {
    let first = from("", &[], &[SINGLE, ("listen.rest", "[::1]:0")]).unwrap();
    let second = from(&first.show(true), &[], &[]).unwrap();
    assert_eq!(first.config, second.config);
    assert_eq!(first.show(false), second.show(false));
}

#[test]
fn unknown_names_are_refused_with_place_and_suggestion() {
    refused(
        "[raft]\n\nheartbeat = 1\n",
        &[],
        &[SINGLE],
        &["node.toml:3", "`raft.heartbeat`", "`raft.heartbeat_ms`"],
    );
    refused("[rafft]\n", &[], &[SINGLE], &["node.toml:1", "did you mean `raft`"]);
    refused("heartbeat_ms = 1\n", &[], &[SINGLE], &["node.toml:1", "unknown key `heartbeat_ms`"]);
    refused("", &[("BATUTA_LISTN_REST", "x")], &[SINGLE], &["env BATUTA_LISTN_REST", "`BATUTA_LISTEN_REST`"]);
    refused("", &[("BATUTA_RAFT_NOTHING", "x")], &[SINGLE], &["env BATUTA_RAFT_NOTHING", "unknown key"]);
    refused("", &[], &[SINGLE, ("log.levle", "info")], &["flag --set log.levle", "`log.level`"]);
}

#[test]
fn variables_of_others_are_left_alone() {
    let others =
        [("BATUTA_SERVICE_HOST", "10.0.0.1"), ("BATUTA_PORT", "tcp://10.0.0.1:8080"), ("BATUTA_CONFIG", "f")];
    from("", &others, &[SINGLE]).unwrap();
    from("", &[("BATUTA_LOCK_NAME", "a"), ("BATUTA_LOCK_TOKEN", "1")], &[SINGLE]).unwrap();
    from("", &[("BATUTA_ENDPOINTS", "h:1"), ("BATUTA_NAMESPACE", "a")], &[SINGLE]).unwrap();
}

#[test]
fn variables_of_kubernetes_services_are_left_alone() {
    for service in ["BATUTA", "BATUTA_NODE", "BATUTA_CLUSTER", "BATUTA_LISTEN_REST", "BATUTA_LOG_LEVEL"] {
        for end in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_GRPC",
            "SERVICE_PORT_PEER_0",
            "PORT",
            "PORT_7070_TCP",
            "PORT_7070_TCP_PROTO",
            "PORT_7070_TCP_PORT",
            "PORT_7070_TCP_ADDR",
            "PORT_53_UDP",
            "PORT_53_UDP_ADDR",
            "PORT_9_SCTP_PROTO",
        ] {
            let name = format!("{service}_{end}");
            let loaded = from("", &[(&name, "tcp://10.0.0.1:7070")], &[SINGLE]);
            assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
        }
    }
    for name in
        ["BATUTA_CLUSTER_TCP", "BATUTA_CLUSTER_PORT_A_TCP", "BATUTA_CLUSTER_7070_TCP", "BATUTA_CLUSTER_ADDR"]
    {
        refused("", &[(name, "x")], &[SINGLE], &[name, "unknown key"]);
    }
}

#[test]
fn bytes_that_are_not_text_are_ignored_or_named() {
    let bytes = |text: &[u8]| OsStr::from_bytes(text).to_owned();
    let loaded = |name: &[u8], value: &[u8]| {
        load(None, &[(bytes(name), bytes(value))], &pairs(&[SINGLE])).map_err(|error| error.to_string())
    };
    for (name, value) in [
        (&b"FOO"[..], &b"\xff"[..]),
        (b"F\xffO", b"x"),
        (b"BATUTA_ENDPOINTS", b"\xff"),
        (b"BATUTA_SERVICE_HOST", b"\xff"),
        (b"", b"\xff"),
    ] {
        loaded(name, value).unwrap();
    }
    for (name, value, words) in [
        (
            &b"BATUTA_NODE_NAME"[..],
            &b"n\xff1"[..],
            ["env BATUTA_NODE_NAME: `node.name` must be UTF-8", "n\u{fffd}1"],
        ),
        (b"BATUTA_LOG_LEVEL", b"\xff", ["env BATUTA_LOG_LEVEL: `log.level`", "must be UTF-8"]),
        (b"BATUTA_LOG_LEVE\xff", b"info", ["BATUTA_LOG_LEVE\u{fffd}", "did you mean `BATUTA_LOG_LEVEL`"]),
    ] {
        let message = loaded(name, value).map(|_| ()).unwrap_err();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    for (toml, words) in [
        ("[raft]\nheartbeat_ms = \"100\"\n", ["raft.heartbeat_ms", "the text \"100\""]),
        ("[raft]\nheartbeat_ms = -1\n", ["raft.heartbeat_ms", "the number -1"]),
        ("[cluster]\npeers = \"a=b:1\"\n", ["cluster.peers", "a list of texts"]),
        ("[security]\ninsecure = \"yes\"\n", ["security.insecure", "true or false"]),
        ("[node]\nname = 7\n", ["node.name", "a text"]),
        ("[node\n", ["not valid TOML", "node.toml"]),
    ] {
        refused(toml, &[], &[SINGLE], &words);
    }
    refused(
        "",
        &[("BATUTA_SECURITY_INSECURE", "yes")],
        &[SINGLE],
        &["env BATUTA_SECURITY_INSECURE", "`yes`"],
    );
}

#[test]
fn broken_rule_names_key_limit_and_remedy() {
    for (key, value, words) in [
        ("node.name", "a b", ["64", "choose such a name"]),
        ("listen.rest", "0.0.0.0:8080", ["anybody there may do anything until access", "security.insecure"]),
        ("listen.peer", "example.org:7070", ["without TLS", "--insecure"]),
        ("listen.grpc", "127.0.0.1", ["host:port", "127.0.0.1:8080"]),
        ("listen.grpc", "127.0.0.1:70000", ["65535", "127.0.0.1:8080"]),
        ("listen.grpc", "http://127.0.0.1:9090", ["\"http\"", "leave the scheme out"]),
        ("advertise.grpc", "https://a.example:9090", ["\"https\"", "leave the scheme out"]),
        ("cluster.peers", "n1=https://127.0.0.1:7070", ["\"https\"", "leave the scheme out"]),
        ("cluster.join", "ftp://127.0.0.1:7070", ["\"ftp\"", "leave the scheme out"]),
        ("advertise.rest", "127.0.0.1:0", ["not an address that others could call", "port"]),
        ("api.allowed_hosts", "a.example,http://b.example", ["\"http://b.example\"", "without scheme"]),
        ("api.allowed_hosts", "a.example:8080", ["\"a.example:8080\"", "without scheme and port"]),
        ("api.allowed_hosts", "*", ["\"*\"", "*.example.com"]),
        ("api.allowed_hosts", "a.*.example", ["\"a.*.example\"", "*.example.com"]),
        ("cluster.peers", "", ["neither a static set", "cluster.join"]),
        ("cluster.peers", "other=127.0.0.1:1", ["batuta-0", "node.name"]),
        ("cluster.peers", "batuta-0=h:1,b=h:1", ["repeats", "once"]),
        ("cluster.peers", "batuta-0", ["name=host:port", "write it in that form"]),
        ("cluster.join", "127.0.0.1:7070", ["cluster.peers is set too", "remove one"]),
        ("cluster.bootstrap_expect", "2", ["1..=1", "two clusters"]),
        ("raft.heartbeat_ms", "300", ["3 × raft.heartbeat_ms (300)", "raise it"]),
        ("raft.election_timeout_ms_max", "300", ["not more than", "twice"]),
        ("raft.segment_bytes", "1000", ["1048576..=1073741824", "range"]),
        ("limits.request_timeout_ms", "0", ["100..=600000", "range"]),
        ("access.bootstrap_token_file", "/run/token", ["access.secure is false", "--secure"]),
        ("audit.level", "none", ["\"none\" is unknown", "privileged, writes, all"]),
        ("audit.on_failure", "stop", ["\"stop\" is unknown", "continue, refuse"]),
        ("audit.file_bytes_max", "10", ["65536..=", "range"]),
        ("audit.files_max", "1", ["2..=100000", "range"]),
        ("log.format", "xml", ["not a format", "text or json"]),
        ("log.level", "loud", ["not a level", "trace"]),
    ] {
        refused("", &[], &[SINGLE, (key, value)], &words);
    }
}

#[test]
fn beyond_loopback_needs_insecure_and_an_advertised_address() {
    let open = [SINGLE, ("security.insecure", "true"), ("listen.rest", "0.0.0.0:8080")];
    refused("", &[], &open, &["advertise.rest"]);
    let told = [&open[..], &[("advertise.rest", "batuta-0.example:8080")]].concat();
    assert_eq!(from("", &[], &told).unwrap().config.advertise.rest.as_deref(), Some("batuta-0.example:8080"));
}

#[test]
fn audit_lies_in_the_data_directory_unless_told() {
    let config = from("", &[], &[SINGLE, ("node.data_dir", "/var/lib/n1")]).unwrap().config;
    assert!(config.audit.enabled && config.access.recovery && !config.access.secure);
    assert_eq!(config.audit.dir, Path::new("/var/lib/n1/audit"));
    assert_eq!(
        (config.audit.level, config.audit.on_failure),
        (AuditLevel::Privileged, AuditFailure::Continue)
    );
    let toml = "[access]\nsecure = true\nbootstrap_token_file = \"/run/token\"\nrecovery = false\n\n\
                [audit]\ndir = \"/audit\"\nlevel = \"all\"\non_failure = \"refuse\"\n";
    let config = from(toml, &[], &[SINGLE]).unwrap().config;
    let file = Some(Path::new("/run/token"));
    assert!(config.access.secure && config.access.bootstrap_token_file.as_deref() == file);
    assert!(!config.access.recovery);
    assert_eq!(config.audit.dir, Path::new("/audit"));
    assert_eq!((config.audit.level, config.audit.on_failure), (AuditLevel::All, AuditFailure::Refuse));
    refused(
        "[audit]\nenabled = false\non_failure = \"refuse\"\n",
        &[],
        &[SINGLE],
        &["audit.enabled is false", "to continue"],
    );
}

#[test]
fn contents_of_the_token_file_are_not_shown() {
    let file = std::env::temp_dir().join(format!("batuta-config-token-{}", std::process::id()));
    std::fs::write(&file, "btb_secret").unwrap();
    let path = file.to_str().unwrap();
    let loaded =
        from("", &[], &[SINGLE, ("access.secure", "true"), ("access.bootstrap_token_file", path)]).unwrap();
    std::fs::remove_file(&file).unwrap();
    let shown = loaded.show(true);
    assert!(shown.contains(path) && !shown.contains("btb_secret"), "{shown}");
}

#[test]
fn refusal_beyond_loopback_says_what_access_does_not_protect() {
    let open = [SINGLE, ("listen.rest", "0.0.0.0:8080")];
    refused("", &[], &open, &["until access is enforced (access.secure, --secure)", "clear text"]);
    let secured = [&open[..], &[("access.secure", "true")]].concat();
    let message = from("", &[], &secured).map(|loaded| loaded.show(true)).unwrap_err().to_string();
    assert!(message.contains("without TLS: tokens and data") && !message.contains("anybody"), "{message}");
}

#[test]
fn host_names_are_bound_advertised_and_allowed() {
    let loaded = from(
        "",
        &[],
        &[
            SINGLE,
            ("listen.rest", "localhost:0"),
            ("listen.ws", "[::1]:0"),
            ("advertise.grpc", "batuta-0.ns.svc:9090"),
            ("api.allowed_hosts", "batuta.example, *.batuta.ns.svc"),
        ],
    );
    let names = loaded.unwrap().config.host_names();
    assert_eq!(names, ["localhost", "batuta-0.ns.svc", "batuta.example", "*.batuta.ns.svc"]);
}

#[test]
fn static_set_is_split_and_expects_all_members() {
    let peers = ("cluster.peers", "batuta-0=127.0.0.1:1, b=127.0.0.1:2,c=127.0.0.1:3");
    let cluster = from("", &[], &[peers]).unwrap().config.cluster;
    assert_eq!(cluster.peers[1], ("b".to_owned(), "127.0.0.1:2".to_owned()));
    assert_eq!(cluster.bootstrap_expect, 3);
    let two = from("", &[], &[peers, ("cluster.bootstrap_expect", "2")]).unwrap();
    assert_eq!(two.config.cluster.bootstrap_expect, 2);
    refused("", &[], &[peers, ("cluster.bootstrap_expect", "1")], &["2..=3"]);
}

#[test]
fn a_missing_file_is_named() {
    let message = load(Some(Path::new("/nowhere/node.toml")), &[], &[]).unwrap_err().to_string();
    assert!(message.contains("/nowhere/node.toml"), "{message}");
}

/// `BATUTA_WRITE_DOCS=1` writes the table of keys; without it, the page must hold it as it is.
#[test]
fn the_documentation_lists_exactly_the_keys() {
    const BEGIN: &str = "<!-- keys -->\n";
    const END: &str = "<!-- /keys -->";
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let mut table = String::from("| key | variable | flag | default | meaning |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let (variable, flag) = (key.variable(), key.flag_name());
        let default = if key.default.is_empty() { "–".to_owned() } else { format!("`{}`", key.default) };
        let row = format!("| `{}` | `{variable}` | `{flag}` | {default} | {} |\n", key.path, key.meaning);
        table.push_str(&row);
    }
    let (before, rest) = text.split_once(BEGIN).expect("the page has a place for the table");
    let (found, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("BATUTA_WRITE_DOCS").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        found, table,
        "docs/configuration.md is out of date: run BATUTA_WRITE_DOCS=1 cargo test -p batuta-config"
    );
}

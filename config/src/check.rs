//! Turns raw values into a validated configuration. Every refusal names the key, the limit and the remedy.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::address::{Address, is_host_name};
use crate::error::ConfigError;
use crate::key::{self, Key};
use crate::origin::Origin;
use crate::raw::{Raw, Value};
use crate::validated::{
    Access, Advertise, Api, Audit, AuditFailure, AuditLevel, Cluster, Limits, Listen, Log, LogFormat,
    LogLevel, Node, NodeConfig, Raft, Security, Storage,
};

type Checked<T> = Result<T, ConfigError>;

/// Validates the whole configuration.
pub(crate) fn node_config(raw: &Raw) -> Checked<NodeConfig> {
    let values = Values(raw);
    let security = Security { insecure: values.bool("security.insecure") };
    let node = node(values)?;
    let (listen, advertise) = addresses(values, security.insecure)?;
    let cluster = cluster(values, &node.name)?;
    let audit = audit(values, &node)?;
    Ok(NodeConfig {
        node,
        listen,
        advertise,
        api: Api { allowed_hosts: allowed_hosts(values)? },
        access: access(values)?,
        cluster,
        raft: raft(values)?,
        storage: Storage { disk_free_min_bytes: values.integer("storage.disk_free_min_bytes", 0..=1 << 50)? },
        limits: Limits {
            request_timeout_ms: values.integer("limits.request_timeout_ms", 100..=600_000)?,
            apply_lag_entries_max: values.integer("limits.apply_lag_entries_max", 1..=1_000_000_000)?,
            waiting_calls_max: values.integer("limits.waiting_calls_max", 1..=10_000_000)?,
            history_changes_max: values.size("limits.history_changes_max", 1..=100_000_000)?,
            history_bytes_max: values.size("limits.history_bytes_max", 1 << 10..=1 << 36)?,
            watchers_max: values.integer("limits.watchers_max", 1..=10_000_000)?,
            watch_queue_changes_max: values.size("limits.watch_queue_changes_max", 1..=1_000_000)?,
            watches_per_connection_max: values.size("limits.watches_per_connection_max", 1..=100_000)?,
            connections_max: values.size("limits.connections_max", 16..=1_000_000)?,
            connection_idle_ms: values.integer("limits.connection_idle_ms", 100..=86_400_000)?,
        },
        log: log(values)?,
        audit,
        security,
    })
}

/// Typed access to the raw values. Kinds were checked when the values were read; paths are keys of the table.
#[derive(Clone, Copy)]
struct Values<'a>(&'a Raw);

impl Values<'_> {
    fn get(self, path: &str) -> Option<Value> {
        key::find(path).and_then(|key| self.0.get(key)).map(|(value, _)| value)
    }

    fn text(self, path: &str) -> Option<String> {
        match self.get(path) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn list(self, path: &str) -> Vec<String> {
        match self.get(path) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }

    fn bool(self, path: &str) -> bool {
        self.get(path) == Some(Value::Bool(true))
    }

    fn number(self, path: &str) -> Option<u64> {
        match self.get(path) {
            Some(Value::Integer(number)) => Some(number),
            _ => None,
        }
    }

    fn integer(self, path: &'static str, allowed: RangeInclusive<u64>) -> Checked<u64> {
        let number = self.number(path).unwrap_or_default();
        if allowed.contains(&number) {
            return Ok(number);
        }
        let (low, high) = allowed.into_inner();
        Err(self.invalid(path, format!("{number} is not in {low}..={high}"), "choose a number in that range"))
    }

    /// A count or size of things held in this process's memory.
    fn size(self, path: &'static str, allowed: RangeInclusive<u64>) -> Checked<usize> {
        let number = self.integer(path, allowed)?;
        usize::try_from(number).map_err(|_| {
            self.invalid(
                path,
                format!("{number} is more than this machine can address"),
                "choose a smaller number",
            )
        })
    }

    /// One of these words.
    fn choice<T: Copy>(
        self,
        path: &'static str,
        choices: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Checked<T> {
        let given = self.required(path)?;
        choices.iter().copied().find(|choice| word(*choice) == given).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|choice| word(*choice)).collect();
            self.invalid(
                path,
                format!("{given:?} is unknown"),
                format!("choose one of: {}", words.join(", ")),
            )
        })
    }

    fn required(self, path: &'static str) -> Checked<String> {
        self.text(path)
            .ok_or_else(|| self.invalid(path, "is empty", "give it a value, or leave it out for its default"))
    }

    fn invalid(
        self,
        path: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigError {
        let found: Option<(&'static Key, Origin)> =
            key::find(path).map(|key| (key, self.0.get(key).map_or(Origin::Default, |(_, origin)| origin)));
        let origin = found.map_or(Origin::Default, |(_, origin)| origin);
        ConfigError::Invalid { key: path, origin, problem: problem.into(), remedy: remedy.into() }
    }
}

/// Longest name of a node.
const NAME_BYTES_MAX: usize = 64;

fn is_node_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn node(values: Values) -> Checked<Node> {
    let name = values.required("node.name")?;
    if !is_node_name(&name) {
        return Err(values.invalid(
            "node.name",
            format!("{name:?} is not 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` or `-`"),
            "choose such a name",
        ));
    }
    Ok(Node { name, data_dir: values.required("node.data_dir")?.into() })
}

fn addresses(values: Values, insecure: bool) -> Checked<(Listen, Advertise)> {
    let told = |path: &'static str| values.text(path).map(|text| callable(values, path, text)).transpose();
    let advertise = Advertise {
        rest: told("advertise.rest")?,
        grpc: told("advertise.grpc")?,
        ws: told("advertise.ws")?,
        peer: told("advertise.peer")?,
    };
    let bound = |path: &'static str, told: &Option<String>| listen(values, path, told.is_some(), insecure);
    let listen = Listen {
        rest: bound("listen.rest", &advertise.rest)?,
        grpc: bound("listen.grpc", &advertise.grpc)?,
        ws: bound("listen.ws", &advertise.ws)?,
        peer: bound("listen.peer", &advertise.peer)?,
    };
    Ok((listen, advertise))
}

fn listen(values: Values, path: &'static str, advertised: bool, insecure: bool) -> Checked<String> {
    let text = values.required(path)?;
    let Some(address) = Address::parse(&text) else {
        return Err(not_an_address(values, path, &text));
    };
    if !address.is_loopback() && !insecure {
        let who = if values.bool("access.secure") {
            "tokens and data travel in clear text"
        } else {
            "anybody there may do anything until access is enforced (access.secure, --secure), and tokens and data travel in clear text"
        };
        return Err(values.invalid(
            path,
            format!("{text} is reachable from other machines, without TLS: {who}"),
            "listen on 127.0.0.1, or set security.insecure (--insecure) if the network is trusted",
        ));
    }
    if address.is_unspecified() && !advertised {
        return Err(values.invalid(
            path,
            format!("{text} means every address of this machine, so it cannot be advertised to others"),
            format!(
                "set {} to the host:port at which others reach this node",
                path.replace("listen", "advertise")
            ),
        ));
    }
    Ok(text)
}

/// An address that others call: it has a specific host and a port.
fn callable(values: Values, path: &'static str, text: String) -> Checked<String> {
    match Address::parse(&text) {
        None => Err(not_an_address(values, path, &text)),
        Some(address) if address.port == 0 || address.is_unspecified() => Err(values.invalid(
            path,
            format!("{text} is not an address that others could call"),
            "give the host and the port at which this node is reached",
        )),
        Some(_) => Ok(text),
    }
}

fn not_an_address(values: Values, path: &'static str, text: &str) -> ConfigError {
    if let Some((scheme, _)) = text.split_once("://") {
        return values.invalid(
            path,
            format!("{text:?} has a scheme, {scheme:?}; an address is host:port, spoken to in clear text"),
            "leave the scheme out: this version has no TLS",
        );
    }
    values.invalid(
        path,
        format!("{text:?} is not host:port with a port up to 65535"),
        "write it like 127.0.0.1:8080, [::1]:8080 or node.example:8080",
    )
}

fn allowed_hosts(values: Values) -> Checked<Vec<String>> {
    let path = "api.allowed_hosts";
    let hosts = values.list(path);
    let is_host = |item: &str| is_host_name(item.strip_prefix("*.").unwrap_or(item));
    match hosts.iter().find(|item| !is_host(item)) {
        None => Ok(hosts),
        Some(item) => Err(values.invalid(
            path,
            format!("{item:?} is not the name of a host, alone or after `*.`"),
            "write it like batuta.example.com or *.example.com, without scheme and port; IP addresses are allowed anyway",
        )),
    }
}

fn access(values: Values) -> Checked<Access> {
    let path = "access.bootstrap_token_file";
    let secure = values.bool("access.secure");
    let bootstrap_token_file = values.text(path).map(Into::into);
    if bootstrap_token_file.is_some() && !secure {
        return Err(values.invalid(
            path,
            "only a secured cluster is created with a bootstrap token, and access.secure is false",
            "set access.secure (--secure) too, or leave the file out",
        ));
    }
    Ok(Access { secure, bootstrap_token_file, recovery: values.bool("access.recovery") })
}

fn audit(values: Values, node: &Node) -> Checked<Audit> {
    let levels = [AuditLevel::Privileged, AuditLevel::Writes, AuditLevel::All];
    let failures = [AuditFailure::Continue, AuditFailure::Refuse];
    let enabled = values.bool("audit.enabled");
    let on_failure = values.choice("audit.on_failure", &failures, AuditFailure::as_str)?;
    if on_failure == AuditFailure::Refuse && !enabled {
        let remedy = "set audit.enabled to true, or audit.on_failure to continue";
        return Err(values.invalid(
            "audit.on_failure",
            "refuse needs an audit, and audit.enabled is false",
            remedy,
        ));
    }
    Ok(Audit {
        enabled,
        dir: values.text("audit.dir").map_or_else(|| node.data_dir.join("audit"), Into::into),
        level: values.choice("audit.level", &levels, AuditLevel::as_str)?,
        on_failure,
        file_bytes_max: values.integer("audit.file_bytes_max", 1 << 16..=1 << 40)?,
        files_max: values.size("audit.files_max", 2..=100_000)?,
    })
}

/// Largest static set: every voter takes part in every write.
const PEERS_MAX: usize = 9;

fn cluster(values: Values, name: &str) -> Checked<Cluster> {
    let join = values
        .list("cluster.join")
        .into_iter()
        .map(|address| callable(values, "cluster.join", address))
        .collect::<Checked<Vec<String>>>()?;
    let peers = peers(values)?;
    match (peers.is_empty(), join.is_empty()) {
        (true, true) => Err(values.invalid(
            "cluster.peers",
            "neither a static set nor a cluster to join is given",
            format!("set it to [\"{name}=host:port\", …] with every first member, or set cluster.join"),
        )),
        (false, false) => Err(values.invalid(
            "cluster.join",
            "cluster.peers is set too: a node either starts with a static set or joins a cluster",
            "remove one of the two",
        )),
        (true, false) => Ok(Cluster { peers, bootstrap_expect: 0, join }),
        (false, true) if !peers.iter().any(|(peer, _)| peer == name) => Err(values.invalid(
            "cluster.peers",
            format!("this node, {name}, is not in it"),
            "add it, or correct node.name",
        )),
        (false, true) => {
            Ok(Cluster { bootstrap_expect: bootstrap_expect(values, peers.len())?, peers, join })
        }
    }
}

fn bootstrap_expect(values: Values, peers: usize) -> Checked<usize> {
    let path = "cluster.bootstrap_expect";
    let expect = values.number(path).map_or(Ok(peers), usize::try_from).unwrap_or(usize::MAX);
    let majority = peers / 2 + 1;
    if (majority..=peers).contains(&expect) {
        return Ok(expect);
    }
    Err(values.invalid(
        path,
        format!("{expect} is not in {majority}..={peers}: fewer than a majority could create two clusters"),
        "choose a number in that range, or leave it out to wait for all",
    ))
}

fn peers(values: Values) -> Checked<Vec<(String, String)>> {
    let path = "cluster.peers";
    let given = values.list(path);
    if given.len() > PEERS_MAX {
        let problem = format!("{} members are more than {PEERS_MAX}", given.len());
        return Err(values.invalid(path, problem, "use three or five members; that is enough for any load"));
    }
    let mut seen = BTreeSet::new();
    let mut peers = Vec::new();
    for item in given {
        let named = item.split_once('=').filter(|(name, _)| is_node_name(name));
        let Some((name, address)) = named else {
            return Err(values.invalid(
                path,
                format!("{item:?} is not name=host:port"),
                "write it in that form",
            ));
        };
        let address = callable(values, path, address.to_owned())?;
        // Names have no colon and addresses have one, so a name and an address never collide in the set.
        if !seen.insert(name.to_owned()) || !seen.insert(address.clone()) {
            return Err(values.invalid(
                path,
                format!("{item:?} repeats a name or an address"),
                "name every member once",
            ));
        }
        peers.push((name.to_owned(), address));
    }
    Ok(peers)
}

/// With fewer heartbeats than this in an election timeout, one lost message would cause an election.
const HEARTBEATS_PER_ELECTION_MIN: u64 = 3;

fn raft(values: Values) -> Checked<Raft> {
    let heartbeat_ms = values.integer("raft.heartbeat_ms", 10..=10_000)?;
    let election_timeout_ms_min = values.integer("raft.election_timeout_ms_min", 50..=60_000)?;
    let election_timeout_ms_max = values.integer("raft.election_timeout_ms_max", 51..=120_000)?;
    if election_timeout_ms_min < HEARTBEATS_PER_ELECTION_MIN * heartbeat_ms {
        return Err(values.invalid(
            "raft.election_timeout_ms_min",
            format!("{election_timeout_ms_min} is less than {HEARTBEATS_PER_ELECTION_MIN} × raft.heartbeat_ms ({heartbeat_ms})"),
            "raise it, or lower raft.heartbeat_ms",
        ));
    }
    if election_timeout_ms_max <= election_timeout_ms_min {
        return Err(values.invalid(
            "raft.election_timeout_ms_max",
            format!("{election_timeout_ms_max} is not more than raft.election_timeout_ms_min ({election_timeout_ms_min})"),
            "raise it to about twice the minimum: nodes must not stand for election at the same time",
        ));
    }
    Ok(Raft {
        heartbeat_ms,
        election_timeout_ms_min,
        election_timeout_ms_max,
        snapshot_entries: values.integer("raft.snapshot_entries", 1..=10_000_000)?,
        // Offsets within a segment are written as 32-bit numbers.
        segment_bytes: values.integer("raft.segment_bytes", 1 << 20..=1 << 30)?,
    })
}

fn log(values: Values) -> Checked<Log> {
    let format = match values.required("log.format")?.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => {
            return Err(values.invalid(
                "log.format",
                format!("{other:?} is not a format"),
                "choose text or json",
            ));
        }
    };
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let given = values.required("log.level")?;
    let level = levels.into_iter().find(|level| level.as_str() == given).ok_or_else(|| {
        values.invalid(
            "log.level",
            format!("{given:?} is not a level"),
            "choose error, warn, info, debug or trace",
        )
    })?;
    Ok(Log { format, level })
}

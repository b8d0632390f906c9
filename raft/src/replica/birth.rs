//! The first entry of a cluster: its id, its level, and the token that secures it.
//!
//! Invariant: a cluster that is created with a bootstrap token has no revision at which it enforces nothing.

use batuta_statemachine::access::{OpenBootstrap, TokenSecret};
use batuta_statemachine::cluster::InitCluster;
use batuta_statemachine::{Command, LEVEL_MIN, Request};

use super::level;

/// How long the bootstrap token of a new cluster is good.
const TOKEN_TTL_MS: u64 = 24 * 60 * 60 * 1000;

/// The requests of the first entry. `last_id` is the highest id of a founder.
pub(super) fn requests(
    cluster_id: &str,
    last_id: Option<u64>,
    level: u32,
    secured_by: Option<TokenSecret>,
    wall_ms: u64,
) -> Vec<Request> {
    let next_node_id = last_id.unwrap_or_default() + 1;
    let init = InitCluster { cluster_id: cluster_id.to_owned(), next_node_id };
    let raise = level::raise_to(level).filter(|_| level > LEVEL_MIN);
    let open = secured_by.map(|token| OpenBootstrap {
        token,
        ttl_ms: TOKEN_TTL_MS,
        not_after_wall_ms: wall_ms.saturating_add(TOKEN_TTL_MS),
        recovery: false,
        enforce: true,
    });
    let commands = [Command::from(init)].into_iter().chain(raise).chain(open.map(Command::from));
    commands.map(|command| Request::new(None, command)).collect()
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::access::{Mode, SecretHash};
    use batuta_statemachine::{Entry, LEVEL, Stamp, State, TokenId};

    use super::*;

    const WALL: u64 = 1_700_000_000_000;

    fn born(level: u32, secured_by: Option<TokenSecret>) -> State {
        let mut state = State::default();
        let requests = requests("c0ffee", Some(3), level, secured_by, WALL);
        let applied = state.apply(1, &Entry { stamp: Stamp { now_ms: 5, wall_ms: WALL }, requests });
        assert!(applied.outcomes.iter().all(Result::is_ok), "{:?}", applied.outcomes);
        state
    }

    #[test]
    fn first_entry_secures_a_cluster() {
        let id = TokenId::new("abcDEF012345").unwrap();
        let state = born(LEVEL, Some(TokenSecret { id, hash: SecretHash::new([7; 32]) }));
        assert_eq!(
            (state.access_mode(), state.cluster_id(), state.level()),
            (Mode::Enforce, Some("c0ffee"), LEVEL)
        );
        let token = state.token(id).unwrap();
        assert!(token.is_live(5 + TOKEN_TTL_MS - 1, WALL + TOKEN_TTL_MS - 1));
        assert!(!token.is_live(5 + TOKEN_TTL_MS, WALL) && !token.is_live(5, WALL + TOKEN_TTL_MS));
    }

    #[test]
    fn cluster_without_a_token_enforces_nothing() {
        for level in LEVEL_MIN..=LEVEL {
            let state = born(level, None);
            assert_eq!((state.access_mode(), state.level()), (Mode::Off, level));
        }
    }
}

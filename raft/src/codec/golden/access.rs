//! Samples of access: commands, replies, refusals and records.

use batuta_statemachine::access::{
    AccessChanged, Bind, BindingId, BindingRecord, Bootstrap, Bootstrapped, Bound, CreateToken, DeleteGroup,
    DeletePrincipal, DeleteRole, DeleteToken, ExtendBinding, GroupRecord, Holder, Mode, Namespaces,
    Narrowing, NewToken, NoteTokenUse, OnEnd, OpenBootstrap, OpenLogin, Password, PasswordHash, PasswordSet,
    Pattern, PrincipalPut, PrincipalRecord, PutGroup, PutPrincipal, PutRole, Record, Refusal,
    ResumePrincipal, RoleRecord, RotateToken, Rule, SecretHash, SetMode, SetPassword, SettingsRecord,
    Subject, SuspendPrincipal, TokenCreated, TokenKind, TokenRecord, TokenSecret, TokenUse, Unbind,
};
use batuta_statemachine::{
    Command, ImageRecord, Namespace, Permission, Principal, PrincipalId, PrincipalName, Rejection, Reply,
    TokenId,
};

use super::state::{at, name};

fn word(text: &str) -> PrincipalName {
    PrincipalName::new(text).expect("valid")
}

fn ann() -> Principal {
    Principal::User(word("ann"))
}

fn token() -> TokenId {
    TokenId::new("abcDEF012345").expect("valid")
}

fn secret() -> TokenSecret {
    TokenSecret { id: token(), hash: SecretHash::new([0xa5; SecretHash::LENGTH]) }
}

fn key() -> NewToken {
    NewToken { secret: secret(), label: "ci".to_owned(), not_after_ms: Some(1_700_000_000_000) }
}

fn patterns() -> Vec<Pattern> {
    ["orders/**", "home/{principal}"].map(|text| Pattern::new(text).expect("valid")).to_vec()
}

fn listed() -> Namespaces {
    Namespaces::Listed(vec![Namespace::default()])
}

fn narrowing() -> Narrowing {
    Narrowing { roles: vec![word("viewer")], namespaces: listed(), names: patterns() }
}

fn rules() -> Vec<Rule> {
    let permissions = [Permission::LockAcquire, Permission::AccessEscalate].into_iter().collect();
    vec![Rule { permissions, names: patterns() }]
}

fn bind() -> Bind {
    Bind {
        subject: Subject::Group(word("ops")),
        role: word("editor"),
        namespaces: listed(),
        names: patterns(),
        not_before_ms: Some(1),
        not_after_ms: Some(2),
        on_end: OnEnd::EndSessions,
        reason: "r".to_owned(),
    }
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let binding = BindingId(at(4));
    let principal = ann();
    let everywhere = Bind {
        subject: Subject::Anonymous,
        namespaces: Namespaces::All,
        names: Vec::new(),
        not_before_ms: None,
        not_after_ms: None,
        on_end: OnEnd::Keep,
        ..bind()
    };
    vec![
        (
            "open_bootstrap",
            OpenBootstrap {
                token: secret(),
                ttl_ms: 5,
                not_after_wall_ms: 6,
                recovery: true,
                enforce: false,
            }
            .into(),
        ),
        (
            "open_bootstrap_enforced",
            OpenBootstrap {
                token: secret(),
                ttl_ms: 5,
                not_after_wall_ms: 6,
                recovery: false,
                enforce: true,
            }
            .into(),
        ),
        ("bootstrap", Bootstrap { bootstrap: token(), admin: word("ann"), key: key() }.into()),
        (
            "put_principal",
            PutPrincipal { principal: Principal::Service(word("shop")), description: "d".to_owned() }.into(),
        ),
        ("delete_principal", DeletePrincipal { principal: ann(), end: true }.into()),
        ("suspend_principal", SuspendPrincipal { principal: ann(), end: true }.into()),
        ("resume_principal", ResumePrincipal { principal: ann() }.into()),
        (
            "set_password",
            SetPassword { principal: ann(), phc: PasswordHash::new("$x"), expected_version: Some(0) }.into(),
        ),
        ("put_group", PutGroup { name: word("ops"), members: vec![ann()] }.into()),
        ("delete_group", DeleteGroup { name: word("ops") }.into()),
        ("put_role", PutRole { name: word("orders"), rules: rules() }.into()),
        ("delete_role", DeleteRole { name: word("orders") }.into()),
        ("bind", bind().into()),
        ("bind_everywhere", everywhere.into()),
        ("unbind", Unbind { binding }.into()),
        ("extend_binding", ExtendBinding { binding, not_after_ms: Some(7), reason: "r".to_owned() }.into()),
        ("create_token", CreateToken { principal: ann(), token: key(), narrowing: Some(narrowing()) }.into()),
        ("delete_token", DeleteToken { token: token() }.into()),
        ("open_login", OpenLogin { principal, password_version: 3, token: secret(), ttl_ms: 8 }.into()),
        ("set_mode_off", SetMode { mode: Mode::Off }.into()),
        ("set_mode_observe", SetMode { mode: Mode::Observe }.into()),
        ("set_mode_enforce", SetMode { mode: Mode::Enforce }.into()),
        ("note_token_use", NoteTokenUse { uses: vec![TokenUse { token: token(), used_wall_ms: 9 }] }.into()),
        ("rotate_token", RotateToken { token: token(), new: secret(), overlap_ms: 10 }.into()),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let id = PrincipalId(at(2));
    vec![
        ("access_changed", AccessChanged.into()),
        ("principal_put", PrincipalPut { id, created: true }.into()),
        ("bound", Bound { binding: BindingId(at(4)) }.into()),
        ("token_created", TokenCreated { token: token(), not_after_ms: Some(5) }.into()),
        ("bootstrapped", Bootstrapped { id, token: token() }.into()),
        ("password_set", PasswordSet { version: 6 }.into()),
    ]
}

pub(super) fn rejections() -> Vec<Rejection> {
    let (permission, namespace) = (Permission::LockAcquire, Namespace::default());
    let refusals = [
        Refusal::PermissionDenied {
            principal: ann(),
            permission,
            namespace: namespace.clone(),
            name: Some(name()),
        },
        Refusal::PrincipalSuspended { principal: ann() },
        Refusal::TokenExpired { token: token() },
        Refusal::TokenRevoked { token: token() },
        Refusal::EscalationRefused {
            principal: ann(),
            permission,
            namespace: Some(namespace),
            names: "orders/**".to_owned(),
        },
        Refusal::LastAdmin,
        Refusal::PrincipalNotFound { principal: ann() },
        Refusal::GroupNotFound { group: word("ops") },
        Refusal::RoleNotFound { role: word("orders") },
        Refusal::BindingNotFound { binding: BindingId(at(4)) },
        Refusal::TokenNotFound { token: token() },
        Refusal::PasswordChanged { principal: ann() },
        Refusal::AlreadyBootstrapped { token: token() },
        Refusal::BuiltInRole { role: word("admin") },
    ];
    refusals.into_iter().map(Rejection::Access).collect()
}

fn token_record(kind: TokenKind) -> TokenRecord {
    TokenRecord {
        secret: secret(),
        kind,
        principal: PrincipalId(at(2)),
        label: "ci".to_owned(),
        not_after_ms: Some(3),
        deadline_ms: Some(4),
        narrowing: Some(narrowing()),
        made_by: Some(PrincipalId(at(1))),
        created_wall_ms: 5,
        last_used_wall_ms: Some(6),
    }
}

fn binding_record(holder: Holder, on_end: OnEnd) -> BindingRecord {
    BindingRecord {
        id: BindingId(at(4)),
        holder,
        role: word("editor"),
        namespaces: listed(),
        names: patterns(),
        not_before_ms: Some(1),
        not_after_ms: Some(2),
        deadline_ms: Some(3),
        on_end,
        reason: "r".to_owned(),
        made_by: Some(PrincipalId(at(1))),
    }
}

pub(super) fn records() -> Vec<(&'static str, ImageRecord)> {
    let id = PrincipalId(at(2));
    let password = Some(Password { phc: PasswordHash::new("$x"), version: 7 });
    let principal = PrincipalRecord {
        id,
        principal: ann(),
        description: "d".to_owned(),
        suspended: true,
        password,
        created_wall_ms: 8,
    };
    let settings = SettingsRecord { mode: Mode::Enforce, guarded: true, access_revision: 9 };
    let records = [
        ("access_settings", Record::Settings(settings)),
        ("principal", Record::Principal(principal)),
        ("group", Record::Group(GroupRecord { name: word("ops"), members: vec![id] })),
        ("role", Record::Role(RoleRecord { name: word("orders"), rules: rules() })),
        ("binding", Record::Binding(binding_record(Holder::Principal(id), OnEnd::Keep))),
        (
            "binding_of_a_group",
            Record::Binding(binding_record(Holder::Group(word("ops")), OnEnd::EndSessions)),
        ),
        ("key", Record::Token(token_record(TokenKind::Key))),
        ("login", Record::Token(token_record(TokenKind::Login))),
        ("bootstrap_token", Record::Token(token_record(TokenKind::Bootstrap { recovery: false }))),
        ("recovery_token", Record::Token(token_record(TokenKind::Bootstrap { recovery: true }))),
    ];
    records.map(|(name, record)| (name, record.into())).into()
}

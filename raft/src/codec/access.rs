//! Commands, replies, refusals and records of access as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::holder::Holder as WireHolder;
use batuta_proto::internal::image_record::Record as WireRecord;
use batuta_proto::internal::rejection::Rejection as WireRejection;
use batuta_proto::internal::reply::Reply as WireReply;
use batuta_proto::internal::request::Command as WireCommand;
use batuta_statemachine::access::{
    AccessChanged, Bind, BindingRecord, Bootstrap, Bootstrapped, Bound, Command, CreateToken, DeleteGroup,
    DeletePrincipal, DeleteRole, DeleteToken, ExtendBinding, GroupRecord, Holder, Mode, Namespaces,
    Narrowing, NewToken, NoteTokenUse, OnEnd, OpenBootstrap, OpenLogin, Password, PasswordHash, PasswordSet,
    Pattern, PrincipalPut, PrincipalRecord, PutGroup, PutPrincipal, PutRole, Record, Refusal, Reply,
    ResumePrincipal, RoleRecord, RotateToken, Rule, SecretHash, SetMode, SetPassword, SettingsRecord,
    Subject, SuspendPrincipal, TokenCreated, TokenKind, TokenRecord, TokenSecret, TokenUse, Unbind,
};
use batuta_statemachine::{Permission, PermissionSet, Principal, PrincipalName, TokenId};
use prost::bytes::Bytes;

use super::DecodeError;
use super::wire::{Claimed, FromWire, ToWire, wire_fields, wire_message, wire_struct, wire_variants};

macro_rules! texts {
    ($($Type:ident = $parse:expr;)*) => {
        $(impl ToWire<String> for $Type {
            fn to_wire(&self) -> String {
                self.to_string()
            }
        }

        /// Every build checks these texts alike, so only a newer build can have written another.
        impl FromWire<String> for $Type {
            fn from_wire(text: String, field: &'static str) -> Result<Self, DecodeError> {
                $parse(&text).map_err(|_| DecodeError::Unknown(field))
            }
        })*
    };
}
texts! {
    PrincipalName = PrincipalName::new;
    Principal = str::parse::<Principal>;
    Subject = str::parse::<Subject>;
    TokenId = TokenId::new;
    Pattern = Pattern::new;
    Permission = str::parse::<Permission>;
}

impl ToWire<Vec<String>> for PermissionSet {
    fn to_wire(&self) -> Vec<String> {
        self.iter().map(|permission| permission.to_wire()).collect()
    }
}

impl FromWire<Vec<String>> for PermissionSet {
    fn from_wire(words: Vec<String>, field: &'static str) -> Result<Self, DecodeError> {
        words.into_iter().map(|word| Permission::from_wire(word, field)).collect()
    }
}

impl ToWire<Bytes> for SecretHash {
    fn to_wire(&self) -> Bytes {
        Bytes::copy_from_slice(self.expose())
    }
}

impl FromWire<Bytes> for SecretHash {
    fn from_wire(bytes: Bytes, field: &'static str) -> Result<Self, DecodeError> {
        bytes.as_ref().try_into().map(Self::new).map_err(|_| DecodeError::Unknown(field))
    }
}

impl ToWire<String> for PasswordHash {
    fn to_wire(&self) -> String {
        self.expose().to_owned()
    }
}

impl FromWire<String> for PasswordHash {
    fn from_wire(phc: String, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self::new(&phc))
    }
}

/// Converts between an enum of the core and one of the messages.
macro_rules! words {
    ($Core:ident = $Wire:ident { $($core:pat => $wire:ident = $value:expr),* $(,)? }) => {
        impl ToWire<i32> for $Core {
            fn to_wire(&self) -> i32 {
                match *self {
                    $($core => wire::$Wire::$wire.into(),)*
                }
            }
        }

        impl FromWire<i32> for $Core {
            fn from_wire(value: i32, field: &'static str) -> Result<Self, DecodeError> {
                match wire::$Wire::try_from(value) {
                    $(Ok(wire::$Wire::$wire) => Ok($value),)*
                    Ok(wire::$Wire::Unspecified) | Err(_) => Err(DecodeError::Unknown(field)),
                }
            }
        }
    };
}
words! { Mode = AccessMode {
    Self::Off => Off = Self::Off,
    Self::Observe => Observe = Self::Observe,
    Self::Enforce => Enforce = Self::Enforce,
} }
words! { OnEnd = OnEnd {
    Self::Keep => Keep = Self::Keep,
    Self::EndSessions => EndSessions = Self::EndSessions,
} }
words! { TokenKind = TokenKind {
    Self::Key => Key = Self::Key,
    Self::Login => Login = Self::Login,
    Self::Bootstrap { recovery: false } => Bootstrap = Self::Bootstrap { recovery: false },
    Self::Bootstrap { recovery: true } => Recovery = Self::Bootstrap { recovery: true },
} }

impl ToWire<wire::Namespaces> for Namespaces {
    fn to_wire(&self) -> wire::Namespaces {
        match self {
            Self::All => wire::Namespaces { all: true, listed: Vec::new() },
            Self::Listed(listed) => wire::Namespaces { all: false, listed: listed.to_wire() },
        }
    }
}

impl FromWire<wire::Namespaces> for Namespaces {
    fn from_wire(message: wire::Namespaces, field: &'static str) -> Result<Self, DecodeError> {
        let wire::Namespaces { all, listed } = message;
        if all { Ok(Self::All) } else { FromWire::from_wire(listed, field).map(Self::Listed) }
    }
}
wire_message! { Namespaces = Namespaces }

impl ToWire<wire::Holder> for Holder {
    fn to_wire(&self) -> wire::Holder {
        let holder = match self {
            Self::Principal(id) => WireHolder::Principal(id.to_wire()),
            Self::Group(name) => WireHolder::Group(name.to_wire()),
        };
        wire::Holder { holder: Some(holder) }
    }
}

impl FromWire<wire::Holder> for Holder {
    fn from_wire(message: wire::Holder, field: &'static str) -> Result<Self, DecodeError> {
        match message.holder.ok_or(DecodeError::Unknown(field))? {
            WireHolder::Principal(id) => FromWire::from_wire(id, field).map(Self::Principal),
            WireHolder::Group(name) => FromWire::from_wire(name, field).map(Self::Group),
        }
    }
}
wire_message! { Holder = Holder }

wire_struct! { TokenSecret = TokenSecret { id, hash } }
wire_struct! { NewToken = NewToken { secret, label, not_after_ms } }
wire_struct! { Narrowing = Narrowing { roles, namespaces, names } }
wire_struct! { Rule = Rule { permissions, names } }
wire_struct! { TokenUse = TokenUse { token, used_wall_ms } }

wire_struct! { OpenBootstrap = OpenBootstrap { token, ttl_ms, not_after_wall_ms, recovery, enforce } }
wire_struct! { Bootstrap = Bootstrap { bootstrap, admin, key } }
wire_struct! { PutPrincipal = PutPrincipal { principal, description } }
wire_struct! { DeletePrincipal = DeletePrincipal { principal, end } }
wire_struct! { SuspendPrincipal = SuspendPrincipal { principal, end } }
wire_struct! { ResumePrincipal = ResumePrincipal { principal } }
wire_struct! { SetPassword = SetPassword { principal, phc, expected_version } }
wire_struct! { PutGroup = PutGroup { name, members } }
wire_struct! { DeleteGroup = DeleteGroup { name } }
wire_struct! { PutRole = PutRole { name, rules } }
wire_struct! { DeleteRole = DeleteRole { name } }
wire_struct! { Bind = Bind {
    subject, role, namespaces, names, not_before_ms, not_after_ms, on_end, reason,
} }
wire_struct! { Unbind = Unbind { binding } }
wire_struct! { ExtendBinding = ExtendBinding { binding, not_after_ms, reason } }
wire_struct! { CreateToken = CreateToken { principal, token, narrowing } }
wire_struct! { DeleteToken = DeleteToken { token } }
wire_struct! { OpenLogin = OpenLogin { principal, password_version, token, ttl_ms } }
wire_struct! { SetMode = SetMode { mode } }
wire_struct! { NoteTokenUse = NoteTokenUse { uses } }
wire_struct! { RotateToken = RotateToken { token, new, overlap_ms } }

wire_variants! { command_to_wire, command: Command = WireCommand {
    OpenBootstrap = OpenBootstrap,
    Bootstrap = Bootstrap,
    PutPrincipal = PutPrincipal,
    DeletePrincipal = DeletePrincipal,
    SuspendPrincipal = SuspendPrincipal,
    ResumePrincipal = ResumePrincipal,
    SetPassword = SetPassword,
    PutGroup = PutGroup,
    DeleteGroup = DeleteGroup,
    PutRole = PutRole,
    DeleteRole = DeleteRole,
    Bind = Bind,
    Unbind = Unbind,
    ExtendBinding = ExtendBinding,
    CreateToken = CreateToken,
    DeleteToken = DeleteToken,
    OpenLogin = OpenLogin,
    SetMode = SetMode,
    NoteTokenUse = NoteTokenUse,
    RotateToken = RotateToken,
} }

/// Takes out of a command what a node draws anew for each attempt, so that a retry is recognised.
pub(super) fn drop_drawn(command: &mut WireCommand) {
    match command {
        WireCommand::OpenBootstrap(open) => {
            (open.token, open.not_after_wall_ms) = (None, 0);
        }
        WireCommand::Bootstrap(wire::Bootstrap { key: Some(key), .. })
        | WireCommand::CreateToken(wire::CreateToken { token: Some(key), .. }) => {
            (key.secret, key.not_after_ms) = (None, None);
        }
        WireCommand::SetPassword(set) => set.phc.clear(),
        WireCommand::OpenLogin(open) => open.token = None,
        WireCommand::RotateToken(rotate) => rotate.new = None,
        // Counted from the clock of the attempt.
        WireCommand::Bind(bind) => bind.not_after_ms = None,
        WireCommand::ExtendBinding(extend) => extend.not_after_ms = None,
        _ => {}
    }
}

impl ToWire<wire::Nothing> for AccessChanged {
    fn to_wire(&self) -> wire::Nothing {
        wire::Nothing {}
    }
}

impl FromWire<wire::Nothing> for AccessChanged {
    fn from_wire(wire::Nothing {}: wire::Nothing, _: &'static str) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

wire_struct! { PrincipalPut = PrincipalPut { id, created } }
wire_struct! { Bound = Bound { binding } }
wire_struct! { TokenCreated = TokenCreated { token, not_after_ms } }
wire_struct! { Bootstrapped = Bootstrapped { id, token } }
wire_struct! { PasswordSet = PasswordSet { version } }

wire_variants! { reply_to_wire, reply: Reply = WireReply {
    AccessChanged = AccessChanged,
    PrincipalPut = PrincipalPut,
    Bound = Bound,
    TokenCreated = TokenCreated,
    Bootstrapped = Bootstrapped,
    PasswordSet = PasswordSet,
} }

wire_fields! { refusal_to_wire, refusal: Refusal = WireRejection {
    PermissionDenied { principal, permission, namespace, name },
    EscalationRefused { principal, permission, namespace, names },
    LastAdmin {},
} bare {
    PrincipalSuspended(principal),
    TokenExpired(token),
    TokenRevoked(token),
    PrincipalNotFound(principal),
    GroupNotFound(group),
    RoleNotFound(role),
    BindingNotFound(binding),
    TokenNotFound(token),
    PasswordChanged(principal),
    AlreadyBootstrapped(token),
    BuiltInRole(role),
} }

wire_struct! { SettingsRecord = AccessSettings { mode, guarded, access_revision } }
wire_struct! { Password = Password { phc, version } }
wire_struct! { PrincipalRecord = PrincipalRecord {
    id, principal, description, suspended, password, created_wall_ms,
} }
wire_struct! { GroupRecord = GroupRecord { name, members } }
wire_struct! { RoleRecord = RoleRecord { name, rules } }
wire_struct! { BindingRecord = BindingRecord {
    id, holder, role, namespaces, names, not_before_ms, not_after_ms, deadline_ms, on_end, reason, made_by,
} }
wire_struct! { TokenRecord = TokenRecord {
    secret, kind, principal, label, not_after_ms, deadline_ms, narrowing, made_by, created_wall_ms,
    last_used_wall_ms,
} }

wire_variants! { record_to_wire, record: Record = WireRecord {
    Settings = AccessSettings,
    Principal = Principal,
    Group = Group,
    Role = Role,
    Binding = Binding,
    Token = Token,
} }

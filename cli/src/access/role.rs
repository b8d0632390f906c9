//! `batuta access group …` and `role …`.

use batuta_client::Client;
use batuta_client::v1::{
    DeleteGroupRequest, DeleteRoleRequest, ListGroupsRequest, ListRolesRequest, PutGroupRequest,
    PutRoleRequest, Rule,
};
use clap::Subcommand;
use serde_json::json;

use super::render::{done, group_json, group_rows, role_json, role_rows};
use crate::failure::Failure;
use crate::output::Answer;
use crate::reading::Page;

/// The subcommands of `batuta access group`.
#[derive(Subcommand, Debug)]
pub enum GroupCommand {
    /// Creates a group, or replaces its members.
    Put {
        /// The name of the group.
        name: String,
        /// The members: user/NAME or service/NAME.
        members: Vec<String>,
    },
    /// Lists groups in order of their names.
    Ls {
        #[command(flatten)]
        page: Page,
    },
    /// Deletes a group with its grants.
    Rm {
        /// The name of the group.
        name: String,
    },
}

/// The subcommands of `batuta access role`.
#[derive(Subcommand, Debug)]
pub enum RoleCommand {
    /// Creates a role, or replaces its rules.
    #[command(after_help = "Examples:
  batuta access role put reader --rule 'lock:read,lock:list=orders/**'
  batuta access role put carrier --rule 'lock:acquire,lock:read=carriers/{principal}/**' --rule 'session:open'")]
    Put {
        /// The name of the role.
        name: String,
        /// What the role allows: permissions, or area:* for all of an area that are not privileged, separated by commas; then `=` and the
        /// names, separated by commas: exact, prefix/** by whole segments, or **. The segment {principal} stands for the name of the
        /// caller. Without names the rule is for all names. May be repeated.
        #[arg(long = "rule", required = true, value_name = "PERMISSION,…[=NAME,…]", value_parser = rule)]
        rules: Vec<Rule>,
    },
    /// Lists roles, built-in ones first.
    Ls {
        #[command(flatten)]
        page: Page,
    },
    /// Deletes a role.
    Rm {
        /// The name of the role.
        name: String,
    },
}

pub(super) async fn group(client: &Client, command: GroupCommand) -> Result<Answer, Failure> {
    match command {
        GroupCommand::Put { name, members } => {
            let answer = client.put_group(PutGroupRequest { name, members }).await?;
            let group = answer.group.ok_or_else(|| Failure::without("the group"))?;
            let json = json!({"group": group_json(&group), "revision": answer.revision});
            Ok(Answer::new(json, group_rows(&[group])))
        }
        GroupCommand::Ls { page } => {
            let request = ListGroupsRequest { limit: page.limit, cursor: page.cursor };
            let answer = client.groups(request).await?;
            let json = json!({
                "groups": answer.groups.iter().map(group_json).collect::<Vec<_>>(),
                "next_cursor": answer.next_cursor,
                "revision": answer.revision,
            });
            Ok(Answer::new(json, group_rows(&answer.groups) + &Page::more(&answer.next_cursor)))
        }
        GroupCommand::Rm { name } => Ok(done(client.delete_group(DeleteGroupRequest { name }).await?)),
    }
}

pub(super) async fn role(client: &Client, command: RoleCommand) -> Result<Answer, Failure> {
    match command {
        RoleCommand::Put { name, rules } => {
            let answer = client.put_role(PutRoleRequest { name, rules }).await?;
            let role = answer.role.ok_or_else(|| Failure::without("the role"))?;
            let json = json!({"role": role_json(&role), "revision": answer.revision});
            Ok(Answer::new(json, role_rows(&[role])))
        }
        RoleCommand::Ls { page } => {
            let request = ListRolesRequest { limit: page.limit, cursor: page.cursor };
            let answer = client.roles(request).await?;
            let json = json!({
                "roles": answer.roles.iter().map(role_json).collect::<Vec<_>>(),
                "next_cursor": answer.next_cursor,
                "revision": answer.revision,
            });
            Ok(Answer::new(json, role_rows(&answer.roles) + &Page::more(&answer.next_cursor)))
        }
        RoleCommand::Rm { name } => Ok(done(client.delete_role(DeleteRoleRequest { name }).await?)),
    }
}

/// Parses a rule, `PERMISSION,…=NAME,…`. The cluster checks its parts.
fn rule(text: &str) -> Result<Rule, String> {
    let (permissions, names) = text.split_once('=').unwrap_or((text, "**"));
    let parts = |text: &str, what: &str| {
        let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        if parts.iter().any(String::is_empty) {
            return Err(format!(
                "{what} is empty; write PERMISSION,…=NAME,… such as lock:read,lock:list=a/**"
            ));
        }
        Ok(parts)
    };
    Ok(Rule { permissions: parts(permissions, "a permission")?, names: parts(names, "a name")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_has_permissions_and_names() {
        for (text, permissions, names) in [
            ("lock:read,lock:list=a/**,b", vec!["lock:read", "lock:list"], vec!["a/**", "b"]),
            ("lock:*", vec!["lock:*"], vec!["**"]),
            ("lock:read=a=b", vec!["lock:read"], vec!["a=b"]),
            ("lock:read = c/{principal}/**", vec!["lock:read"], vec!["c/{principal}/**"]),
        ] {
            let rule = rule(text).expect(text);
            assert_eq!((rule.permissions, rule.names), (strings(&permissions), strings(&names)), "{text}");
        }
        for text in ["", "=a", "lock:read=", "lock:read,=a", "lock:read=a,,b"] {
            assert!(rule(text).is_err(), "{text}");
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }
}

//! Which utility statements have a place for secrets, and what stands there.

use super::query::{list, string};
use super::utility::Utility;
use pgrx::pg_sys::{self, NodeTag};
use std::ffi::CStr;

/// Where the grammar of a utility statement has a place for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    Nothing,
    /// Behind the word PASSWORD, and one is there.
    Password,
    /// In options of anybody's naming, or in a connection string.
    Options,
    /// In code of another language.
    Code,
}

impl Utility<'_> {
    /// Where its grammar has a place for secrets.
    pub fn carried(&self) -> Carried {
        match self.tag() {
            NodeTag::T_CreateRoleStmt | NodeTag::T_AlterRoleStmt => match self.secrets().is_empty() {
                true => Carried::Nothing,
                false => Carried::Password,
            },
            NodeTag::T_CreateUserMappingStmt
            | NodeTag::T_AlterUserMappingStmt
            | NodeTag::T_CreateForeignServerStmt
            | NodeTag::T_AlterForeignServerStmt
            | NodeTag::T_CreateFdwStmt
            | NodeTag::T_AlterFdwStmt
            | NodeTag::T_CreateSubscriptionStmt
            | NodeTag::T_AlterSubscriptionStmt => Carried::Options,
            NodeTag::T_DoStmt | NodeTag::T_CreateFunctionStmt => Carried::Code,
            _ => Carried::Nothing,
        }
    }

    /// The values of options that are secrets by their names, and connection strings.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        let node = self.node();
        macro_rules! the {
            ($statement:ident) => {
                *node.cast::<pg_sys::$statement>()
            };
        }
        // SAFETY: the tag says which struct the node is; option lists hold DefElems, strings are NUL-terminated
        // or NULL.
        unsafe {
            let none = std::ptr::null_mut();
            let (options, connection) = match self.tag() {
                NodeTag::T_CreateRoleStmt => ((the!(CreateRoleStmt)).options, none),
                NodeTag::T_AlterRoleStmt => ((the!(AlterRoleStmt)).options, none),
                NodeTag::T_CreateUserMappingStmt => ((the!(CreateUserMappingStmt)).options, none),
                NodeTag::T_AlterUserMappingStmt => ((the!(AlterUserMappingStmt)).options, none),
                NodeTag::T_CreateForeignServerStmt => ((the!(CreateForeignServerStmt)).options, none),
                NodeTag::T_AlterForeignServerStmt => ((the!(AlterForeignServerStmt)).options, none),
                NodeTag::T_CreateFdwStmt => ((the!(CreateFdwStmt)).options, none),
                NodeTag::T_AlterFdwStmt => ((the!(AlterFdwStmt)).options, none),
                NodeTag::T_CreateSubscriptionStmt => {
                    ((the!(CreateSubscriptionStmt)).options, (the!(CreateSubscriptionStmt)).conninfo)
                }
                NodeTag::T_AlterSubscriptionStmt => {
                    ((the!(AlterSubscriptionStmt)).options, (the!(AlterSubscriptionStmt)).conninfo)
                }
                _ => return Vec::new(),
            };
            let is_secret = |option: &&pg_sys::DefElem| {
                if option.defname.is_null() {
                    return false;
                }
                let name = CStr::from_ptr(option.defname).to_bytes().to_ascii_lowercase();
                ["pass", "secret", "token", "key"]
                    .iter()
                    .any(|part| memchr::memmem::find(&name, part.as_bytes()).is_some())
            };
            let options = list::<pg_sys::DefElem>(options).filter(is_secret);
            let values = options.filter_map(|option| string(option.arg.as_ref()?)).map(CStr::to_bytes);
            let connection = (!connection.is_null()).then(|| CStr::from_ptr(connection).to_bytes());
            values.chain(connection).map(<[u8]>::to_vec).collect()
        }
    }
}

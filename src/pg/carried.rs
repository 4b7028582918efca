//! Which utility statements have a place for secrets, and what stands there.

use super::utility::Utility;
use pgrx::pg_sys::{self, Node, NodeTag};
use std::ffi::{CStr, c_char};

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
        // SAFETY: the tag says which struct the node is; option lists hold DefElems, strings are NUL-terminated
        // or NULL.
        unsafe {
            let (options, connection) = match self.tag() {
                NodeTag::T_CreateRoleStmt => ((*node.cast::<pg_sys::CreateRoleStmt>()).options, None),
                NodeTag::T_AlterRoleStmt => ((*node.cast::<pg_sys::AlterRoleStmt>()).options, None),
                NodeTag::T_CreateUserMappingStmt => {
                    ((*node.cast::<pg_sys::CreateUserMappingStmt>()).options, None)
                }
                NodeTag::T_AlterUserMappingStmt => {
                    ((*node.cast::<pg_sys::AlterUserMappingStmt>()).options, None)
                }
                NodeTag::T_CreateForeignServerStmt => {
                    ((*node.cast::<pg_sys::CreateForeignServerStmt>()).options, None)
                }
                NodeTag::T_AlterForeignServerStmt => {
                    ((*node.cast::<pg_sys::AlterForeignServerStmt>()).options, None)
                }
                NodeTag::T_CreateFdwStmt => ((*node.cast::<pg_sys::CreateFdwStmt>()).options, None),
                NodeTag::T_AlterFdwStmt => ((*node.cast::<pg_sys::AlterFdwStmt>()).options, None),
                NodeTag::T_CreateSubscriptionStmt => {
                    let create = &*node.cast::<pg_sys::CreateSubscriptionStmt>();
                    (create.options, Some(create.conninfo))
                }
                NodeTag::T_AlterSubscriptionStmt => {
                    let alter = &*node.cast::<pg_sys::AlterSubscriptionStmt>();
                    (alter.options, Some(alter.conninfo))
                }
                _ => return Vec::new(),
            };
            let is_secret = |option: &&pg_sys::DefElem| {
                let name = bytes(option.defname).to_ascii_lowercase();
                ["pass", "secret", "token", "key"]
                    .iter()
                    .any(|part| memchr::memmem::find(&name, part.as_bytes()).is_some())
            };
            let options = super::query::list::<pg_sys::DefElem>(options).filter(is_secret);
            let values = options.filter_map(|option| option.arg.as_ref()).filter_map(string);
            let connection = connection.filter(|text| !text.is_null());
            values.chain(connection.map(|text| bytes(text))).collect()
        }
    }
}

/// # Safety
/// NUL-terminated, or NULL.
unsafe fn bytes(text: *const c_char) -> Vec<u8> {
    // SAFETY: as the caller promises.
    if text.is_null() { Vec::new() } else { unsafe { CStr::from_ptr(text) }.to_bytes().to_vec() }
}

/// The text of a String node.
fn string(node: &Node) -> Option<Vec<u8>> {
    // SAFETY: the tag says that the node is a String; its name of the field differs by version.
    (node.type_ == NodeTag::T_String)
        .then(|| unsafe { bytes(super::version::string_value(std::ptr::from_ref(node))) })
}

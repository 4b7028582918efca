//! Query trees: what stands in them, and putting other expressions in the place of columns.
//!
//! A tree is changed in three steps, because nothing that may raise an ERROR under a guard of
//! pgrx's can stand inside a walk ([`super::version::Walker`]): [`draft::Draft::survey`] tells what a query
//! uses; its caller decides, in ordinary Rust, and prepares [`masks::Masks`]; [`draft::Draft::mask`] walks through
//! the tree with them and looks nothing up that could be prepared. Nothing here knows who may see what.

pub mod columns;
pub mod copy;
pub mod draft;
pub mod expression;
pub mod frames;
pub mod masks;
mod mutate;
mod node;
mod plain;
pub mod stamp;
mod survey;
mod taint;

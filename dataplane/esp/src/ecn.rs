//! Congestion marks across a tunnel, both ways. RFC: 6040.

use crate::DropReason;

/// The ECN field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not understand ECN.
    NotEct = 0,
    /// It does.
    Ect1 = 1,
    /// It does.
    Ect0 = 2,
    /// Congestion was met.
    Ce = 3,
}

/// The bits of the type of service octet that ECN has.
pub const MASK: u8 = 3;

impl Ecn {
    /// Every value, by its bits.
    pub const ALL: [Self; 4] = [Self::NotEct, Self::Ect1, Self::Ect0, Self::Ce];

    /// Returns the field of a type of service or traffic class octet.
    #[must_use]
    #[inline]
    pub const fn of(tos: u8) -> Self {
        match tos & MASK {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// How remarkable a combination of inner and outer field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alert {
    /// An ordinary combination.
    None,
    /// A combination that is currently unused; worth a count.
    Unused,
    /// A combination that should not occur; worth a log line.
    Dangerous,
}

/// How the outer header of a packet that is sealed gets its ECN field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ingress {
    /// Copied from the inner header: normal mode.
    #[default]
    Copy,
    /// Always Not-ECT: compatibility mode, for an egress that does not know ECN.
    NotEct,
}

impl Ingress {
    /// Returns the outer field for an inner one. RFC: 6040 section 4.1.
    #[must_use]
    #[inline]
    pub const fn outer(self, inner: Ecn) -> Ecn {
        //= rfc6040#4.1
        match self {
            Self::Copy => inner,
            Self::NotEct => Ecn::NotEct,
        }
    }
}

/// Returns the field that the inner packet goes on with, and whether the combination is remarkable.
/// Errors: `Ecn` where congestion is reported to a flow that cannot understand it. RFC: 6040 section 4.2.
#[inline]
pub const fn egress(inner: Ecn, outer: Ecn) -> (Result<Ecn, DropReason>, Alert) {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    //= rfc6040#4.2
    match (inner, outer) {
        (NotEct, NotEct) => (Ok(NotEct), Alert::None),
        (NotEct, Ect0 | Ect1) => (Ok(NotEct), Alert::Dangerous),
        (NotEct, Ce) => (Err(DropReason::Ecn), Alert::Dangerous),
        (Ect0, NotEct | Ect0) => (Ok(Ect0), Alert::None),
        (Ect0, Ect1) => (Ok(Ect1), Alert::None),
        (Ect1, NotEct | Ect1) => (Ok(Ect1), Alert::None),
        (Ect1, Ect0) => (Ok(Ect1), Alert::Unused),
        (Ect0 | Ect1, Ce) => (Ok(Ce), Alert::None),
        (Ce, NotEct | Ect0 | Ce) => (Ok(Ce), Alert::None),
        (Ce, Ect1) => (Ok(Ce), Alert::Dangerous),
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{Ce, Ect0, Ect1, NotEct};
    use super::*;

    #[test]
    fn all_sixteen_combinations_come_out_as_in_figure_4() {
        let outers = [NotEct, Ect0, Ect1, Ce];
        let drop = Err(DropReason::Ecn);
        let figure = [
            (NotEct, [Ok(NotEct), Ok(NotEct), Ok(NotEct), drop], [0, 3, 3, 3]),
            (Ect0, [Ok(Ect0), Ok(Ect0), Ok(Ect1), Ok(Ce)], [0, 0, 0, 0]),
            (Ect1, [Ok(Ect1), Ok(Ect1), Ok(Ect1), Ok(Ce)], [0, 1, 0, 0]),
            (Ce, [Ok(Ce), Ok(Ce), Ok(Ce), Ok(Ce)], [0, 0, 3, 0]),
        ];
        for (inner, fields, marks) in figure {
            for ((outer, field), mark) in outers.into_iter().zip(fields).zip(marks) {
                let alert = [Alert::None, Alert::Unused, Alert::Dangerous, Alert::Dangerous][mark];
                assert_eq!(egress(inner, outer), (field, alert), "inner {inner:?}, outer {outer:?}");
            }
        }
    }

    #[test]
    fn normal_mode_copies_and_compatibility_mode_clears() {
        for inner in Ecn::ALL {
            assert_eq!(Ingress::Copy.outer(inner), inner);
            assert_eq!(Ingress::NotEct.outer(inner), NotEct);
            assert_eq!(Ecn::of(inner as u8 | 0xb8), inner);
        }
    }
}

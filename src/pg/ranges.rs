//! BRIN indexes that hold the lowest and the highest value of each range of pages.

use super::form::{Column, KEYS};
use pgrx::pg_sys::{self, Datum};

/// Opclass families whose summary is a minimum and a maximum, for bigint and timestamptz
/// (integer_minmax_ops, datetime_minmax_ops in pg_opfamily.dat).
const MINMAX: [u32; 2] = [4054, 4059];
/// The access method of BRIN indexes (pg_am.dat).
const BRIN: u32 = 3580;

/// An index of minima and maxima, and what it is to hear of the range of pages at hand.
pub(super) struct Ranges {
    index: usize,
    /// Pages in a range.
    pages: u32,
    /// For each of its columns, the place among the keys.
    columns: Vec<u8>,
    range: Option<u32>,
    first: pg_sys::ItemPointerData,
    last: pg_sys::ItemPointerData,
    lowest: [i64; KEYS],
    highest: [i64; KEYS],
}

/// brin.h: an index's reloptions.
#[repr(C)]
struct BrinOptions {
    length: i32,
    pages_per_range: u32,
    autosummarize: bool,
}

impl Ranges {
    /// The indexes of `result` that are of this kind; gives their columns places among the keys.
    ///
    /// # Safety
    /// The indexes are open.
    pub(super) unsafe fn of(result: *mut pg_sys::ResultRelInfo, columns: &mut [Column]) -> Vec<Self> {
        let mut found = Vec::new();
        let mut keys = 0_u8;
        // SAFETY: as the caller promises; the arrays have as many elements as there are indexes.
        unsafe {
            for number in 0..(*result).ri_NumIndices as usize {
                let index = *(*result).ri_IndexRelationDescs.add(number);
                let info = *(*result).ri_IndexRelationInfo.add(number);
                let count = (*info).ii_NumIndexAttrs as usize;
                let attributes = &(&(*info).ii_IndexAttrNumbers)[..count];
                let suits = (*(*index).rd_rel).relam.to_u32() == BRIN
                    && (*info).ii_Predicate.is_null()
                    && attributes.iter().all(|attribute| *attribute > 0)
                    && (0..count)
                        .all(|column| MINMAX.contains(&(*(*index).rd_opfamily.add(column)).to_u32()))
                    && attributes.iter().all(|attribute| columns[*attribute as usize - 1].width == 8);
                if !suits {
                    continue;
                }
                let new = attributes
                    .iter()
                    .filter(|attribute| columns[**attribute as usize - 1].key.is_none())
                    .count();
                if usize::from(keys) + new > KEYS {
                    continue;
                }
                let places = attributes
                    .iter()
                    .map(|attribute| {
                        *columns[*attribute as usize - 1].key.get_or_insert_with(|| {
                            keys += 1;
                            keys - 1
                        })
                    })
                    .collect();
                let options = (*index).rd_options.cast::<BrinOptions>();
                found.push(Self {
                    index: number,
                    // brin.h: BRIN_DEFAULT_PAGES_PER_RANGE
                    pages: if options.is_null() { 128 } else { (*options).pages_per_range },
                    columns: places,
                    range: None,
                    first: std::mem::zeroed(),
                    last: std::mem::zeroed(),
                    lowest: [0; KEYS],
                    highest: [0; KEYS],
                });
            }
        }
        found
    }

    /// Which of the table's indexes it is.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Takes a row down that lies at `tid`.
    ///
    /// # Safety
    /// As for [`Self::tell`].
    pub(super) unsafe fn note(
        &mut self,
        result: *mut pg_sys::ResultRelInfo,
        block: u32,
        tid: pg_sys::ItemPointerData,
        keys: &[i64; KEYS],
    ) {
        let range = Some(block / self.pages);
        if self.range == range {
            self.last = tid;
            for ((lowest, highest), key) in self.lowest.iter_mut().zip(&mut self.highest).zip(keys) {
                *lowest = (*lowest).min(*key);
                *highest = (*highest).max(*key);
            }
            return;
        }
        // SAFETY: as the caller promises.
        unsafe { self.tell(result) }
        self.range = range;
        (self.first, self.last, self.lowest, self.highest) = (tid, tid, *keys, *keys);
    }

    /// Tells the index of what was noted: of two rows, which have its lowest and its highest values.
    ///
    /// # Safety
    /// `result` is what it was made of, still open, in the transaction that has put the rows there.
    pub(super) unsafe fn tell(&mut self, result: *mut pg_sys::ResultRelInfo) {
        if self.range.take().is_none() {
            return;
        }
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
        for (values, tid) in [(&self.lowest, &mut self.first), (&self.highest, &mut self.last)] {
            let mut datums = [Datum::null(); pg_sys::INDEX_MAX_KEYS as usize];
            for (datum, key) in datums.iter_mut().zip(&self.columns) {
                *datum = Datum::from(values[usize::from(*key)]);
            }
            // SAFETY: as the caller promises; as many values as the index has columns.
            unsafe {
                pg_sys::index_insert(
                    *(*result).ri_IndexRelationDescs.add(self.index),
                    datums.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    tid,
                    (*result).ri_RelationDesc,
                    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                    false,
                    *(*result).ri_IndexRelationInfo.add(self.index),
                );
            }
        }
    }
}

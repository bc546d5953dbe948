//! The picture of a JPEG while it is put together: its components, their coefficients and samples.

use super::idct::{self, Block, NATURAL};
use super::markers::FrameHeader;

/// One colour component.
pub(super) struct Component {
    pub id: u8,
    /// Sampling: blocks of this component in a row and column of one MCU.
    pub h: usize,
    pub v: usize,
    /// Number of its quantisation table.
    pub quantisation: usize,
    /// Blocks that hold picture, without what only fills the last MCU.
    pub blocks_wide: usize,
    pub blocks_high: usize,
    /// Blocks a row in [`Self::coefficients`] and [`Self::samples`], which hold whole MCUs.
    pub padded_wide: usize,
    pub padded_high: usize,
    /// Samples that one block becomes.
    pub block_width: usize,
    pub block_height: usize,
    /// Samples that belong to the picture.
    pub width: usize,
    pub height: usize,
    /// `padded_high * block_height` rows of [`Self::stride`] samples.
    pub samples: Vec<u8>,
    /// Of a progressive file, 64 coefficients a block in zigzag order, not yet dequantised.
    pub coefficients: Vec<i16>,
    /// The quantisation table as it stood at this component's first scan, in zigzag order.
    pub factors: Option<[u16; 64]>,
}

impl Component {
    /// Samples a row.
    pub(super) fn stride(&self) -> usize {
        self.padded_wide * self.block_width
    }

    /// Returns the last zigzag index that its blocks are made of.
    pub(super) fn last_needed(&self) -> usize {
        idct::last_needed(self.block_width, self.block_height)
    }

    /// Turns a dequantised block into the samples at its place.
    #[inline(always)]
    pub(super) fn write(&mut self, block: &Block, is_flat: bool, (column, row): (usize, usize)) {
        let stride = self.stride();
        let start = row * self.block_height * stride + column * self.block_width;
        let size = (self.block_width, self.block_height);
        idct::write_block(block, is_flat, size, &mut self.samples[start..], stride);
    }

    /// Turns all coefficients into samples.
    fn write_all(&mut self) {
        let Some(factors) = self.factors else { return };
        let last = self.last_needed();
        let coefficients = std::mem::take(&mut self.coefficients);
        for (index, stored) in coefficients.chunks_exact(64).enumerate() {
            let mut block = [0; 64];
            let mut others = 0;
            for k in 0..=last {
                block[NATURAL[k]] = i32::from(stored[k]) * i32::from(factors[k]);
                others |= if k == 0 { 0 } else { stored[k] };
            }
            self.write(&block, others == 0, (index % self.padded_wide, index / self.padded_wide));
        }
    }
}

/// The picture with all its components.
pub(super) struct Frame {
    pub components: Vec<Component>,
    pub is_progressive: bool,
    /// The largest sampling of any component.
    pub h_max: usize,
    pub v_max: usize,
    pub mcus_wide: usize,
    pub mcus_high: usize,
    /// The scale: 1 to 4 eighths of the full size, or all 8.
    pub eighths: usize,
    /// Size of the picture after scaling.
    pub width: usize,
    pub height: usize,
}

impl Frame {
    /// Lays out the components of a frame that is decoded at `eighths` (1 to 4, or 8) of its size. Allocates
    /// nothing yet.
    pub(super) fn new(header: &FrameHeader, eighths: usize) -> Self {
        let h_max = header.components.iter().map(|it| usize::from(it.h)).max().unwrap_or(1);
        let v_max = header.components.iter().map(|it| usize::from(it.v)).max().unwrap_or(1);
        let (full_width, full_height) = (header.width as usize, header.height as usize);
        let (mcus_wide, mcus_high) = (full_width.div_ceil(8 * h_max), full_height.div_ceil(8 * v_max));
        let components = header
            .components
            .iter()
            .map(|it| {
                let (h, v) = (usize::from(it.h), usize::from(it.v));
                let (block_width, block_height) = block_size(eighths, (h, v), (h_max, v_max));
                let (padded_wide, padded_high) = (mcus_wide * h, mcus_high * v);
                Component {
                    id: it.id,
                    h,
                    v,
                    quantisation: usize::from(it.quantisation),
                    blocks_wide: (full_width * h).div_ceil(8 * h_max),
                    blocks_high: (full_height * v).div_ceil(8 * v_max),
                    padded_wide,
                    padded_high,
                    block_width,
                    block_height,
                    width: (full_width * h * block_width).div_ceil(8 * h_max),
                    height: (full_height * v * block_height).div_ceil(8 * v_max),
                    samples: Vec::new(),
                    coefficients: Vec::new(),
                    factors: None,
                }
            })
            .collect();
        Self {
            components,
            is_progressive: header.is_progressive,
            h_max,
            v_max,
            mcus_wide,
            mcus_high,
            eighths,
            width: (full_width * eighths).div_ceil(8),
            height: (full_height * eighths).div_ceil(8),
        }
    }

    /// Returns what [`Self::allocate`] and the finished picture take.
    pub(super) fn memory_bytes(&self) -> u64 {
        let stored: usize = self
            .components
            .iter()
            .map(|it| {
                let blocks = it.padded_wide * it.padded_high;
                blocks * (it.block_width * it.block_height + if self.is_progressive { 128 } else { 0 })
            })
            .sum();
        (stored + self.width * self.height * 3) as u64
    }

    /// Makes room for samples and coefficients. Samples begin as mid grey, which is what lost blocks stay.
    pub(super) fn allocate(&mut self) {
        for component in &mut self.components {
            let blocks = component.padded_wide * component.padded_high;
            component.samples = vec![128; blocks * component.block_width * component.block_height];
            if self.is_progressive {
                component.coefficients = vec![0; blocks * 64];
            }
        }
    }

    /// Turns the coefficients of a progressive file into samples.
    pub(super) fn finish(&mut self) {
        if self.is_progressive {
            self.components.iter_mut().for_each(Component::write_all);
        }
    }
}

/// Chooses how many samples a block becomes. When scaling down, subsampled components are decoded at twice the
/// scale where that makes them as large as the others, so that nothing is enlarged afterwards.
fn block_size(eighths: usize, (h, v): (usize, usize), (h_max, v_max): (usize, usize)) -> (usize, usize) {
    let twice = |own: usize, largest: usize| eighths < 8 && own * 2 == largest;
    let width = if twice(h, h_max) { eighths * 2 } else { eighths };
    let height = if twice(v, v_max) { eighths * 2 } else { eighths };
    (width, height)
}

//! libjpeg behind a safe interface: a file's header, then the rows of the picture, scaled.
//!
//! The `mozjpeg` crate has a safe interface too, but none that tells where the file ends before the picture does. This one
//! knows nothing else than that.
//!
//! Errors of libjpeg are unwound through it, which its build allows, and caught at each call. After one, it is only ever
//! closed.

#![expect(unsafe_code, reason = "libjpeg is written in C")]

use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::slice;

pub(super) use mozjpeg_sys::J_COLOR_SPACE as ColorSpace;
use mozjpeg_sys::{
    JPEG_LIB_VERSION, jpeg_CreateDecompress, jpeg_common_struct, jpeg_component_info, jpeg_decompress_struct,
    jpeg_destroy_decompress, jpeg_error_mgr, jpeg_mem_src, jpeg_read_header, jpeg_read_scanlines,
    jpeg_start_decompress, jpeg_std_error,
};

/// What libjpeg says is wrong with a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault(pub String);

/// What libjpeg has of one file. Its parts point to each other, so it stays where it is.
#[repr(C)]
struct State {
    info: jpeg_decompress_struct,
    errors: jpeg_error_mgr,
}

/// A JPEG whose header has been read.
pub(super) struct Header<'a>(Open<'a>);

/// A JPEG of which rows can be read.
pub(super) struct Picture<'a>(Open<'a>);

struct Open<'a> {
    state: NonNull<State>,
    bytes: PhantomData<&'a [u8]>,
    is_faulty: bool,
}

impl<'a> Header<'a> {
    /// Reads the header. The bytes must not be empty.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut open = Open::new()?;
        open.call(|info| {
            // SAFETY: the bytes live longer than what reads them, and libjpeg does not change them.
            unsafe { jpeg_mem_src(info, bytes.as_ptr(), bytes.len() as _) };
            // SAFETY: it has a source.
            unsafe { jpeg_read_header(info, 1) }
        })?;
        Ok(Self(open))
    }

    /// Returns the width and height of the full picture.
    pub fn size(&self) -> (u32, u32) {
        let info = self.0.info();
        (info.image_width, info.image_height)
    }

    /// Returns the colours of the file.
    pub fn color_space(&self) -> ColorSpace {
        self.0.info().jpeg_color_space
    }

    /// Returns width and height of each component in blocks of 8 x 8 coefficients.
    pub fn blocks(&self) -> impl Iterator<Item = (u32, u32)> {
        let info = self.0.info();
        let components: &[jpeg_component_info] = if info.comp_info.is_null() {
            &[]
        } else {
            // SAFETY: after the header, it points to as many components, which live as long as the state.
            unsafe { slice::from_raw_parts(info.comp_info, info.num_components as usize) }
        };
        components.iter().map(|component| (component.width_in_blocks, component.height_in_blocks))
    }

    /// Starts to decode at so many eighths of the full size, into these colours.
    pub fn start(mut self, eighths: u8, colors: ColorSpace) -> Result<Picture<'a>, Fault> {
        self.0.call(|info| {
            info.scale_num = u32::from(eighths);
            info.scale_denom = 8;
            info.out_color_space = colors;
            // SAFETY: the header has been read.
            unsafe { jpeg_start_decompress(info) }
        })?;
        Ok(Picture(self.0))
    }
}

impl Picture<'_> {
    /// Returns the width and height at which it is decoded.
    pub fn size(&self) -> (u32, u32) {
        let info = self.0.info();
        (info.output_width, info.output_height)
    }

    /// Returns the bytes of a pixel.
    pub fn pixel_bytes(&self) -> usize {
        self.0.info().output_components as usize
    }

    /// Reads the next row.
    pub fn read(&mut self, row: &mut [u8]) -> Result<(), Fault> {
        let (width, _) = self.size();
        assert!(row.len() >= width as usize * self.pixel_bytes(), "the row must have room");
        let mut rows = [row.as_mut_ptr()];
        // SAFETY: there is one row, with room for what is written.
        let read = self.0.call(|info| unsafe { jpeg_read_scanlines(info, rows.as_mut_ptr(), 1) })?;
        if read == 1 { Ok(()) } else { Err(Fault("there are no more rows".to_owned())) }
    }

    /// Returns whether libjpeg came upon coded bytes that make no sense, and went on.
    pub fn is_damaged(&self) -> bool {
        // SAFETY: it was set when the state was made.
        unsafe { (*self.0.info().common.err).num_warnings > 0 }
    }

    /// Returns whether more bytes were asked for than there are: libjpeg takes the end of the file for the end of the
    /// picture then, and goes on.
    pub fn ran_dry(&self, bytes: &[u8]) -> bool {
        // SAFETY: the source was set with the header, and lives as long as the state.
        let next = unsafe { (*self.0.info().src).next_input_byte };
        // It puts an end of its own where it reads on.
        !bytes.as_ptr_range().contains(&next) && next != bytes.as_ptr_range().end
    }
}

impl Open<'_> {
    fn new() -> Result<Self, Fault> {
        // SAFETY: of all fields, zeros are a value: numbers, enumerations with a first value, and pointers to nothing.
        let state: Box<State> = Box::new(unsafe { MaybeUninit::zeroed().assume_init() });
        let state = NonNull::from(Box::leak(state));
        let mut open = Self { state, bytes: PhantomData, is_faulty: false };
        // SAFETY: the state is ours alone, and stays where it is until it is dropped.
        unsafe {
            let errors = &raw mut (*state.as_ptr()).errors;
            jpeg_std_error(&mut *errors);
            (*errors).error_exit = Some(unwind);
            (*errors).emit_message = Some(note);
            (*state.as_ptr()).info.common.err = errors;
        }
        open.call(|info| {
            let size = mem::size_of::<jpeg_decompress_struct>();
            // SAFETY: it has what errors are told to.
            unsafe { jpeg_CreateDecompress(info, JPEG_LIB_VERSION, size) };
        })?;
        Ok(open)
    }

    fn info(&self) -> &jpeg_decompress_struct {
        // SAFETY: nothing changes it while it is borrowed: libjpeg does only within `call`, which borrows it for that.
        unsafe { &(*self.state.as_ptr()).info }
    }

    /// Calls libjpeg, unless it has failed before.
    fn call<R>(&mut self, call: impl FnOnce(&mut jpeg_decompress_struct) -> R) -> Result<R, Fault> {
        if self.is_faulty {
            return Err(Fault("it has failed before".to_owned()));
        }
        // SAFETY: nobody else has it.
        let info = unsafe { &mut (*self.state.as_ptr()).info };
        catch_unwind(AssertUnwindSafe(|| call(info))).map_err(|payload| {
            self.is_faulty = true;
            match payload.downcast::<Fault>() {
                Ok(fault) => *fault,
                Err(panic) => resume_unwind(panic),
            }
        })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // SAFETY: it came out of a box, and this is the last use. libjpeg can be closed at any time, after errors too, and
        // before it was opened.
        unsafe {
            jpeg_destroy_decompress(&mut (*self.state.as_ptr()).info);
            drop(Box::from_raw(self.state.as_ptr()));
        }
    }
}

/// Longest message that libjpeg writes.
const MESSAGE_BYTES: usize = 80;

/// What libjpeg calls instead of returning.
extern "C-unwind" fn unwind(info: &mut jpeg_common_struct) {
    // A panic's hook would be called otherwise; this is none.
    resume_unwind(Box::new(Fault(message(info))));
}

/// What libjpeg calls where it goes on in spite of what it found. Counted is what costs a part of the picture: not bytes
/// between its parts, and not the odd headers that some cameras write.
extern "C-unwind" fn note(info: &mut jpeg_common_struct, level: i32) {
    const WARNING: i32 = -1;
    // SAFETY: it was set when the state was made.
    if level != WARNING || unsafe { (*info.err).num_warnings } > 0 {
        return;
    }
    let message = message(info);
    if message.starts_with("Corrupt JPEG data") && !message.contains("extraneous") {
        // SAFETY: as above.
        unsafe { (*info.err).num_warnings += 1 };
    }
}

/// Returns what libjpeg has to say.
fn message(info: &mut jpeg_common_struct) -> String {
    let mut message = [0u8; MESSAGE_BYTES];
    // SAFETY: it was set when the state was made.
    let errors = unsafe { &*info.err };
    if let Some(format) = errors.format_message {
        // SAFETY: the second argument is declared as if it were only read; it is what is written to.
        let format = unsafe {
            mem::transmute::<
                unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &[u8; MESSAGE_BYTES]),
                unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &mut [u8; MESSAGE_BYTES]),
            >(format)
        };
        // SAFETY: there is room for the longest message.
        unsafe { format(info, &mut message) };
    }
    let text = message.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

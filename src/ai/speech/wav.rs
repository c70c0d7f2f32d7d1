//! Reads WAV as speech programs write it: into a pipe, and so with lengths that they could not know yet.

use std::ops::RangeInclusive;

/// Samples a second that are believed to be speech.
const RATES: RangeInclusive<u32> = 4_000..=192_000;

/// Channels that are believed; they are mixed down.
const CHANNELS: RangeInclusive<u16> = 1..=8;

/// A WAV file with at least one sample.
#[derive(Debug)]
pub(super) struct Wav<'a> {
    /// Samples a second, 4,000 to 192,000.
    pub(super) rate: u32,
    channels: usize,
    format: Format,
    /// Whole frames only: a sample for each channel.
    data: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
}

impl Format {
    fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 => 1,
            Self::Signed16 => 2,
            Self::Signed24 => 3,
            Self::Signed32 | Self::Float32 => 4,
        }
    }

    /// From -1 to 1, whatever the bytes.
    fn sample(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::Unsigned8, &[a]) => (f32::from(a) - 128.0) / 128.0,
            (Self::Signed16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (Self::Signed24, &[a, b, c]) => i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0,
            (Self::Signed32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as f32 / 2_147_483_648.0,
            (Self::Float32, &[a, b, c, d]) => {
                let sample = f32::from_le_bytes([a, b, c, d]);
                // An encoder is not to be fed infinities.
                if sample.is_finite() {
                    sample.clamp(-1.0, 1.0)
                } else {
                    0.0
                }
            }
            _ => unreachable!("samples are cut by their format's bytes"),
        }
    }
}

/// Whether `bytes` begin as a WAV file does.
pub(super) fn is_wav(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && bytes.starts_with(b"RIFF") && &bytes[8..12] == b"WAVE"
}

impl<'a> Wav<'a> {
    /// Reads integers of 8, 16, 24 and 32 bits and floats of 32. A length of the samples that is 0 or beyond the end
    /// of the file means all that follows.
    ///
    /// # Errors
    ///
    /// What the bytes are instead, to be put after "gave".
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("no audio".to_owned());
        }
        if !is_wav(bytes) {
            return Err("something that is not WAV".to_owned());
        }
        let mut rest = &bytes[12..];
        let mut form = None;
        while let Some((header, body)) = rest.split_at_checked(8) {
            let length = u32_at(header, 4) as usize;
            match &header[..4] {
                b"fmt " => form = Some(read_format(body.get(..length).ok_or("WAV that is cut off")?)?),
                b"data" => {
                    let (rate, channels, format) = form.ok_or("WAV that does not say its format")?;
                    let given = match length {
                        0 => body,
                        length => body.get(..length).unwrap_or(body),
                    };
                    let frames = given.len() / (channels * format.bytes());
                    if frames == 0 {
                        return Err("WAV without any sound".to_owned());
                    }
                    return Ok(Self {
                        rate,
                        channels,
                        format,
                        data: &given[..frames * channels * format.bytes()],
                    });
                }
                _ => {}
            }
            // Chunks begin at even places.
            rest = body.get(length.saturating_add(length % 2)..).unwrap_or_default();
        }
        Err("WAV without any sound".to_owned())
    }

    /// The samples from -1 to 1, all channels as one.
    pub(super) fn samples(&self) -> impl Iterator<Item = f32> {
        let (channels, format) = (self.channels, self.format);
        self.data.chunks_exact(channels * format.bytes()).map(move |frame| {
            let sum: f32 = frame.chunks_exact(format.bytes()).map(|one| format.sample(one)).sum();
            sum / channels as f32
        })
    }
}

fn read_format(chunk: &[u8]) -> Result<(u32, usize, Format), String> {
    const INTEGER: u16 = 1;
    const FLOAT: u16 = 3;
    const EXTENSIBLE: u16 = 0xFFFE;
    if chunk.len() < 16 {
        return Err("WAV that is cut off".to_owned());
    }
    let (channels, rate, bits) = (u16_at(chunk, 2), u32_at(chunk, 4), u16_at(chunk, 14));
    // The extension's subformat begins with what would be the tag.
    let tag = match u16_at(chunk, 0) {
        EXTENSIBLE if chunk.len() >= 26 => u16_at(chunk, 24),
        tag => tag,
    };
    let format = match (tag, bits) {
        (INTEGER, 8) => Format::Unsigned8,
        (INTEGER, 16) => Format::Signed16,
        (INTEGER, 24) => Format::Signed24,
        (INTEGER, 32) => Format::Signed32,
        (FLOAT, 32) => Format::Float32,
        _ => return Err(format!("WAV of format {tag} with {bits} bits, which is not read here")),
    };
    if !CHANNELS.contains(&channels) {
        return Err(format!("WAV with {channels} channels"));
    }
    if !RATES.contains(&rate) {
        return Err(format!("WAV with {rate} samples a second"));
    }
    Ok((rate, usize::from(channels), format))
}

fn u16_at(bytes: &[u8], place: usize) -> u16 {
    u16::from_le_bytes([bytes[place], bytes[place + 1]])
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes([bytes[place], bytes[place + 1], bytes[place + 2], bytes[place + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `fmt ` chunk.
    fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let frame = channels * bits / 8;
        let mut chunk = Vec::new();
        chunk.extend(tag.to_le_bytes());
        chunk.extend(channels.to_le_bytes());
        chunk.extend(rate.to_le_bytes());
        chunk.extend((rate * u32::from(frame)).to_le_bytes());
        chunk.extend(frame.to_le_bytes());
        chunk.extend(bits.to_le_bytes());
        chunk
    }

    /// A WAV file of chunks, each with the length that it says it has.
    fn wav(chunks: &[(&[u8; 4], u32, &[u8])]) -> Vec<u8> {
        let mut file = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
        for (name, length, body) in chunks {
            file.extend(*name);
            file.extend(length.to_le_bytes());
            file.extend(*body);
        }
        file
    }

    fn samples(format: &[u8], data: &[u8]) -> Vec<f32> {
        let file = wav(&[
            (b"fmt ", format.len() as u32, format),
            (b"data", data.len() as u32, data),
        ]);
        Wav::parse(&file).unwrap().samples().collect()
    }

    #[test]
    fn every_format_reads_the_same_sound() {
        let expected = [0.5, -1.0];
        assert_eq!(samples(&format(1, 1, 8000, 8), &[192, 0]), expected);
        assert_eq!(samples(&format(1, 1, 8000, 16), &[0, 0x40, 0, 0x80]), expected);
        assert_eq!(samples(&format(1, 1, 8000, 24), &[0, 0, 0x40, 0, 0, 0x80]), expected);
        let data = [0, 0, 0, 0x40, 0, 0, 0, 0x80];
        assert_eq!(samples(&format(1, 1, 8000, 32), &data), expected);
        let data: Vec<u8> = expected.iter().flat_map(|sample: &f32| sample.to_le_bytes()).collect();
        assert_eq!(samples(&format(3, 1, 8000, 32), &data), expected);
        let mut extensible = format(0xFFFE, 1, 8000, 16);
        extensible.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
        extensible.extend(b"\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71");
        assert_eq!(samples(&extensible, &[0, 0x40, 0, 0x80]), expected);
    }

    #[test]
    fn floats_that_are_no_sound_become_sound() {
        let data: Vec<u8> = [f32::NAN, f32::INFINITY, 9.0, -9.0]
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        assert_eq!(samples(&format(3, 1, 8000, 32), &data), [0.0, 0.0, 1.0, -1.0]);
    }

    #[test]
    fn channels_are_mixed_down_and_half_a_frame_is_left_out() {
        assert_eq!(
            samples(&format(1, 2, 8000, 8), &[192, 64, 255, 255, 0]),
            [0.0, 127.0 / 128.0]
        );
    }

    #[test]
    fn lengths_that_a_pipe_cannot_know_mean_to_the_end() {
        let format = format(1, 1, 22_050, 8);
        for length in [0, 0x7fff_f000, u32::MAX, 5] {
            let file = wav(&[(b"fmt ", 16, &format), (b"data", length, &[1, 2, 3, 4])]);
            assert_eq!(Wav::parse(&file).unwrap().samples().count(), 4, "{length}");
        }
        let file = wav(&[(b"fmt ", 16, &format), (b"data", 2, &[1, 2, 3, 4])]);
        assert_eq!(Wav::parse(&file).unwrap().samples().count(), 2);
    }

    #[test]
    fn other_chunks_are_passed_over_with_their_padding() {
        let format = format(1, 1, 22_050, 8);
        let file = wav(&[
            (b"LIST", 3, b"abc\0"),
            (b"fmt ", 16, &format),
            (b"fact", 4, b"\0\0\0\0"),
            (b"data", 1, &[9]),
        ]);
        assert_eq!(Wav::parse(&file).unwrap().samples().count(), 1);
    }

    #[test]
    fn what_is_not_wav_is_named() {
        let good = format(1, 1, 22_050, 16);
        let with = |format: &[u8]| wav(&[(b"fmt ", format.len() as u32, format), (b"data", 2, &[0, 0])]);
        for (file, why) in [
            (Vec::new(), "no audio"),
            (b"ID3 and so on and on".to_vec(), "something that is not WAV"),
            (b"RIFF\0\0\0\0WAVE".to_vec(), "WAV without any sound"),
            (wav(&[(b"fmt ", 16, &good)]), "WAV without any sound"),
            (wav(&[(b"fmt ", 16, &good), (b"data", 0, &[])]), "WAV without any sound"),
            (
                wav(&[(b"fmt ", 16, &good), (b"data", 1, &[0])]),
                "WAV without any sound",
            ),
            (wav(&[(b"data", 2, &[0, 0])]), "WAV that does not say its format"),
            (wav(&[(b"fmt ", 16, &good[..9])]), "WAV that is cut off"),
            (with(&good[..9]), "WAV that is cut off"),
            (
                with(&format(6, 1, 8000, 8)),
                "WAV of format 6 with 8 bits, which is not read here",
            ),
            (with(&format(1, 0, 8000, 16)), "WAV with 0 channels"),
            (with(&format(1, 1, 1, 16)), "WAV with 1 samples a second"),
        ] {
            assert_eq!(Wav::parse(&file).unwrap_err(), why);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_it_down(tail: Vec<u8>, cut in 0_usize..60) {
            let mut file = wav(&[(b"fmt ", 16, &format(1, 2, 8000, 24)), (b"data", 0, &[])]);
            file.truncate(cut);
            file.extend(tail);
            if let Ok(wav) = Wav::parse(&file) {
                proptest::prop_assert!(wav.samples().all(|sample| (-1.0..=1.0).contains(&sample)));
            }
        }
    }
}

use std::io::{Cursor, Write};

use flate2::{Compression, write::DeflateEncoder};

use super::*;

/// An archive of files, every second one deflated.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    for (index, (name, content)) in files.iter().enumerate() {
        let method = if index % 2 == 0 { 0_u16 } else { 8 };
        let mut packed = content.to_vec();
        if method == 8 {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(content).unwrap();
            packed = encoder.finish().unwrap();
        }
        let mut crc = Crc::new();
        crc.update(content);
        let mut fields = Vec::new();
        for half in [20_u16, 0, method, 0, 0] {
            fields.extend(half.to_le_bytes());
        }
        for word in [crc.sum(), packed.len() as u32, content.len() as u32, name.len() as u32] {
            fields.extend(word.to_le_bytes());
        }
        let offset = bytes.len() as u32;
        bytes.extend([b"PK\x03\x04", fields.as_slice(), name.as_bytes(), &packed].concat());
        list.extend([b"PK\x01\x02\x14\0", fields.as_slice(), &[0; 10]].concat());
        list.extend(offset.to_le_bytes());
        list.extend(name.as_bytes());
    }
    let (count, at) = (files.len() as u16, bytes.len() as u32);
    bytes.extend(&list);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend([(list.len() as u32).to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend([0, 0]);
    bytes
}

fn open(bytes: &[u8], most: usize) -> Result<Zip<Cursor<&[u8]>>, ZipError> {
    Zip::open(Cursor::new(bytes), most)
}

#[test]
fn files_are_listed_and_unpacked() {
    let long = vec![7; 100_000];
    let bytes = archive(&[("a/1.png", b"one"), ("a\\2.png", &long), ("a/", b""), ("b", b"")]);
    let mut zip = open(&bytes, 4).unwrap();
    let names: Vec<&str> = zip.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a/1.png", "a/2.png", "b"]);
    assert_eq!(zip.read(0, 3).unwrap(), b"one");
    assert_eq!(zip.read(1, 100_000).unwrap(), long);
    assert_eq!(zip.read(2, 0).unwrap(), b"");
    // A comment at the end, and bytes before the beginning of its tail.
    let mut commented = bytes.clone();
    let length = commented.len();
    commented[length - 2..].copy_from_slice(&5_u16.to_le_bytes());
    commented.extend(b"hello");
    assert_eq!(open(&commented, 4).unwrap().entries().len(), 3);
}

#[test]
fn attacks_are_refused_before_memory_is_taken() {
    let long = vec![0; 1 << 20];
    let bytes = archive(&[("a", b"one"), ("bomb", &long)]);
    let said = |bytes: &[u8]| open(bytes, 9).unwrap_err().to_string();
    assert!(open(&bytes, 1).unwrap_err().to_string().contains("2 entries; allowed: 1"));
    assert!(open(&bytes, 2).unwrap().read(1, 1000).unwrap_err().to_string().contains("1000 bytes"));
    let end = bytes.len() - 22;
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    assert!(said(&[]).contains("no list of files"));
    assert!(said(&bytes[..bytes.len() - 1]).contains("no list of files"));
    assert!(said(&changed(end + 4, &[1])).contains("several parts"));
    assert!(said(&changed(end + 8, &[0xFF; 4])).contains("ZIP64"));
    assert!(said(&changed(end + 12, &[0xFF; 4])).contains("outside"));
    assert!(said(&changed(end + 16, &[0xFF, 0xFF, 0xFF, 0x7F])).contains("outside"));
    assert!(said(&changed(end + 8, &[3, 0, 3, 0])).contains("cut off"));
    let list = u32_at(&bytes, end + 16) as usize;
    assert!(said(&changed(list + 28, &[0xFF, 0xFF])).contains("cut off"));
    for (at, value, word) in [
        (list + 8, &[1][..], "encryption"),
        (list + 10, &[99], "methods"),
        (list + 16, &[9], "checksum"),
        (list + 42, &[1], "no head"),
    ] {
        let bytes = changed(at, value);
        let said = open(&bytes, 9).unwrap().read(0, 100).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
}

proptest::proptest! {
    #[test]
    fn changed_bytes_give_errors_or_files_within_bounds(
        at in 0_usize..400, value: u8, cut in 0_usize..400,
    ) {
        let mut bytes = archive(&[("a/1", b"one two three"), ("b/2", &[5; 3000])]);
        let length = bytes.len();
        bytes[at % length] = value;
        bytes.truncate(length - (cut % length) * usize::from(cut > 300));
        if let Ok(mut zip) = open(&bytes, 10) {
            for index in 0..zip.entries().len() {
                if let Ok(file) = zip.read(index, 100) {
                    proptest::prop_assert!(file.len() <= 100);
                }
            }
        }
    }
}

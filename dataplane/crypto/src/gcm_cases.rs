//! The cases of McGrew and Viega's GCM specification that have a 12-octet IV; ESP never has AAD of their lengths.

use esp::aead::Algorithm;

/// One case, in hexadecimal digits.
pub(crate) struct Case {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: Vec<u8>,
    pub(crate) nonce: [u8; 12],
    pub(crate) aad: Vec<u8>,
    pub(crate) clear: Vec<u8>,
    pub(crate) cipher: Vec<u8>,
    pub(crate) icv: [u8; 16],
}

const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
const NONCE: &str = "cafebabefacedbaddecaf888";
const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
const CLEAR: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                     1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
const CIPHER_128: &str = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                          21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985";
const CIPHER_192: &str = "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c\
                          7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710acade256";
const CIPHER_256: &str = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                          8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";

/// Test cases 1-4, 7-10 and 13-16: for each key length an empty text, one block, four blocks, and 60 octets with AAD.
pub(crate) fn cases() -> Vec<Case> {
    let by_length = [
        (16, "58e2fccefa7e3061367f1d57a4e7455a", "0388dace60b6a392f328c2b971b2fe78", CIPHER_128),
        (24, "cd33b28ac773f74ba00ed1f312572435", "98e7247c07f0fe411c267e4384b0f600", CIPHER_192),
        (32, "530f8afbc74536b9a963b4f1c4cb738b", "cea7403d4d606b6e074ec5d3baf39d18", CIPHER_256),
    ];
    let icvs = [
        [
            "ab6e47d42cec13bdf53a67b21257bddf",
            "4d5c2af327cd64a62cf35abd2ba6fab4",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ],
        [
            "2ff58d80033927ab8ef4d4587514f0fb",
            "9924a7c8587336bfb118024db8674a14",
            "2519498e80f1478f37ba55bd6d27618c",
        ],
        [
            "d0d1c8a799996bf0265b98b5d48ab919",
            "b094dac5d93471bdec1a502270e3cc6c",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ],
    ];
    let mut cases = Vec::new();
    for ((key_octets, empty_icv, zero_cipher, cipher), icvs) in by_length.into_iter().zip(icvs) {
        let (zero_key, key) = ("00".repeat(key_octets), &KEY[..2 * key_octets]);
        let (zero_nonce, zero_block) = ("00".repeat(12), "00".repeat(16));
        let rows = [
            [&zero_key, &zero_nonce, "", "", "", empty_icv],
            [&zero_key, &zero_nonce, "", &zero_block, zero_cipher, icvs[0]],
            [key, NONCE, "", CLEAR, cipher, icvs[1]],
            [key, NONCE, AAD, &CLEAR[..120], &cipher[..120], icvs[2]],
        ];
        cases.extend(rows.map(|[key, nonce, aad, clear, cipher, icv]| Case {
            algorithm: Algorithm::aes_gcm_16(key_octets).unwrap(),
            key: hex(key),
            nonce: hex(nonce).try_into().unwrap(),
            aad: hex(aad),
            clear: hex(clear),
            cipher: hex(cipher),
            icv: hex(icv).try_into().unwrap(),
        }));
    }
    cases
}

fn hex(digits: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/*
 * The part of IPSec_MB that has no symbol: its calls are macros over function pointers in the manager.
 * Also asserts every number that src/ipsec_mb/ffi.rs writes down a second time.
 */
#include <stddef.h>
#include <stdint.h>

#include <intel-ipsec-mb.h>

#if IMB_VERSION_NUM < IMB_VERSION(1, 3, 0) || IMB_VERSION_NUM >= IMB_VERSION(2, 0, 0)
#error "IPSec_MB 1.3 or a later 1.x is needed (Debian: libipsec-mb-dev)"
#endif

#define AT(field, offset) _Static_assert(offsetof(IMB_JOB, field) == (offset), "IMB_JOB." #field)

AT(enc_keys, 0);
AT(dec_keys, 8);
AT(key_len_in_bytes, 16);
AT(src, 24);
AT(dst, 32);
AT(cipher_start_src_offset_in_bytes, 40);
AT(msg_len_to_cipher_in_bytes, 48);
AT(hash_start_src_offset_in_bytes, 56);
AT(msg_len_to_hash_in_bytes, 64);
AT(iv, 72);
AT(iv_len_in_bytes, 80);
AT(auth_tag_output, 88);
AT(auth_tag_output_len_in_bytes, 96);
AT(u.GCM.aad, 104);
AT(u.GCM.aad_len_in_bytes, 112);
AT(u.GCM.ctx, 120);
AT(status, 128);
AT(cipher_mode, 132);
AT(cipher_direction, 136);
AT(hash_alg, 140);
AT(chain_order, 144);
AT(user_data, 152);
_Static_assert(sizeof(IMB_JOB) >= 160, "IMB_JOB");
_Static_assert(sizeof(((IMB_JOB *)0)->status) == 4, "IMB_STATUS");

_Static_assert(IMB_CIPHER_GCM == 5 && IMB_AUTH_AES_GMAC == 9, "modes");
_Static_assert(IMB_DIR_ENCRYPT == 1 && IMB_DIR_DECRYPT == 2, "directions");
_Static_assert(IMB_ORDER_CIPHER_HASH == 1 && IMB_ORDER_HASH_CIPHER == 2, "orders");
_Static_assert(IMB_STATUS_COMPLETED == 3, "status");
_Static_assert(IMB_MAX_BURST_SIZE >= 64, "a burst is 64 jobs");
_Static_assert(sizeof(struct gcm_key_data) <= 1024, "a key cell is 1024 octets");
_Static_assert(sizeof(struct gcm_context_data) <= 128, "a context is 128 octets");
_Static_assert(offsetof(struct gcm_key_data, ghash_keys) == 240, "hash keys follow 15 round keys");
_Static_assert(sizeof(((struct gcm_key_data *)0)->ghash_keys.vaes_avx512) == 768, "48 hash keys");

/* Arrays by key length: 128, 192, 256 bits. */
struct espalier_mb_calls {
        aes_gcm_enc_dec_t seal[3];
        aes_gcm_enc_dec_t open[3];
        aes_gcm_pre_t expand[3];
        burst_fn_t next_burst;
        burst_fn_t submit_burst;
        burst_fn_t flush_burst;
        uint64_t features;
};

void espalier_mb_calls(const IMB_MGR *mgr, struct espalier_mb_calls *out);

void espalier_mb_calls(const IMB_MGR *mgr, struct espalier_mb_calls *out)
{
        *out = (struct espalier_mb_calls) {
                .seal = { mgr->gcm128_enc, mgr->gcm192_enc, mgr->gcm256_enc },
                .open = { mgr->gcm128_dec, mgr->gcm192_dec, mgr->gcm256_dec },
                .expand = { mgr->gcm128_pre, mgr->gcm192_pre, mgr->gcm256_pre },
                .next_burst = mgr->get_next_burst,
                .submit_burst = mgr->submit_burst_nocheck,
                .flush_burst = mgr->flush_burst,
                .features = mgr->features,
        };
}

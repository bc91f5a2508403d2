/*
 * Verification of the audit key's signatures, with its public half alone: an
 * auditor without the token comes to the same answer.
 */
#ifndef CORE_P256_H
#define CORE_P256_H

#include "base/bytes.h"
#include "base/err.h"

/* ECDSA on P-256. point: 04 || x || y; signature: r || s, 64 bytes.
 * KT_ERR_INTEGRITY when it does not verify or is not of this shape. */
enum kt_err p256_verify(const struct blob *point, const uint8_t digest[32],
			const struct blob *signature);

#endif

/* All of libkeyturn's public interface. */
#ifndef KEYTURN_KEYTURN_H
#define KEYTURN_KEYTURN_H

#include <keyturn/audit.h>
#include <keyturn/backup.h>
#include <keyturn/bench.h>
#include <keyturn/compromise.h>
#include <keyturn/error.h>
#include <keyturn/project.h>
#include <keyturn/rotation.h>
#include <keyturn/secret.h>
#include <keyturn/token.h>
#include <keyturn/types.h>
#include <keyturn/vault.h>

#endif

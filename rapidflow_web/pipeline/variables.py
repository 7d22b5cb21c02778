"""Which variables a build may be given. Pure: whether there is a secret is found out when a build starts."""

from __future__ import annotations

import re

from rapidflow_web.pipeline.suggestions import short

MAX_ENV_VALUE = 128_000
"""Bytes. Linux starts no process with a variable of more than 128 KiB, its name included."""
MAX_VARIABLES = 1_000
MAX_ENVIRONMENT = 1_000_000
"""Bytes of all names and values. Linux starts no process with more than 2 MiB of arguments and variables."""
HIDDEN = "***"
"""What is shown where a value is secret."""
CLONE_PASSWORD = "RAPIDFLOW_CLONE_PASSWORD"  # noqa: S105 - only its name
"""A secret of a pipeline that no build is given: with it the server fetches the source."""

OWN_OF_SHELLS = frozenset(
    (
        "BASHOPTS", "BASHPID", "BASH_VERSINFO", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID",
        "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OPTIND", "PPID", "RANDOM", "SECONDS", "SHELLOPTS",
        "SRANDOM", "UID",
    )
)  # fmt: skip
"""Variables of which shells have their own: some end when told to export them, some export what they like."""

_POWERS = (
    # shells
    "BASH*", "ENV", "SHELL", "SHELLOPTS", "IFS", "PS4", "CDPATH", "GLOBIGNORE", "PROMPT_COMMAND",
    "POSIXLY_CORRECT", "FPATH", "ZDOTDIR",
    # which programs and libraries are found, and what they load
    "PATH", "HOME", "XDG_*", "LD_*", "GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH",
    "HOSTALIASES", "RES_OPTIONS", "OPENSSL_*", "TERMINFO*", "TERMCAP",
    # programs that other programs call
    "EDITOR", "VISUAL", "PAGER", "MANPAGER", "BROWSER", "LESS*", "GIT_*", "SSH_*", "RSYNC_*",
    "TAR_OPTIONS", "SVN_*", "CVS_RSH", "HG", "HGRCPATH", "HGPLAIN*", "HGEDITOR", "SUDO_*", "VIMINIT",
    "EXINIT", "GNUPGHOME", "ANSIBLE_*", "TF_CLI_*",
    # from where things are fetched, and whom they trust
    "*_PROXY", "SSL_*", "CURL_*", "*_CA_BUNDLE", "WGETRC", "DOCKER_*", "KUBECONFIG",
    # interpreters
    "PYTHON*", "PYTEST*", "PERL*", "RUBY*", "NODE_*", "PHP*", "LUA_*", "GAWK*", "AWK*", "R_*", "JAVA_*",
    "_JAVA_*", "JDK_*", "CLASSPATH", "DOTNET_*", "CORECLR_*", "COMPLUS_*", "ERL_*", "ELIXIR_*",
    # builds and packages
    "MAKE*", "GNUMAKEFLAGS", "MFLAGS", "CC", "CXX", "CPP", "AR", "AS", "LD", "FC", "RM", "LEX", "YACC",
    "*FLAGS", "CMAKE_*", "CONFIG_SHELL", "CONFIG_SITE", "CGO_*", "APT_CONFIG",
    "CCACHE_*", "COMPILER_PATH", "GCC_*", "CPATH", "*_INCLUDE_PATH", "LIBRARY_PATH", "PKG_CONFIG*",
    "GOROOT", "GOPATH", "GOENV", "GOBIN", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOSUMCHECK",
    "GOINSECURE", "GOPRIVATE", "GOTOOLCHAIN", "GOWORK", "GOVCS", "GOAUTH", "CARGO*", "RUST*", "PIP_*",
    "UV_*", "POETRY_*", "VIRTUAL_ENV", "NPM_CONFIG_*", "YARN_*", "COREPACK_*", "BUNDLE_*", "GEM_*",
    "COMPOSER_*", "MAVEN_*", "MVN_*", "GRADLE_*", "ANT_*", "SBT_*",
    # what the server tells of a build
    "CI", "RAPIDFLOW_*",
)  # fmt: skip
"""Variables by which programs run code, or other code, or fetch it from elsewhere. `*`: whatever is there."""

_POWER = re.compile("|".join(name.replace("*", ".*") for name in _POWERS), re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def check_env_key(key: str) -> str:
    """The key, if a shell can export it. Raises ValueError."""
    if not _NAME.fullmatch(key):
        raise ValueError(
            f"{short(key)!r} is not a variable name; use letters, digits and _, but no digit first"
        )
    return key


def check_env_value(key: str, value: str) -> str:
    """The value, if a process can be given it. Raises ValueError."""
    if "\0" in value:
        raise ValueError(f"the value of {key} has a NUL character, which no process can be given")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the value of {key} has half a character, which is not valid Unicode") from None
    if size > MAX_ENV_VALUE:
        raise ValueError(
            f"the value of {key} has {size} bytes; at most {MAX_ENV_VALUE} are taken, use a file for more"
        )
    return value


def has_power(key: str) -> bool:
    """Whether a variable makes shells, loaders or tools run other code than the pipeline says."""
    return _POWER.fullmatch(key) is not None


def check_secret_name(name: str) -> str:
    """The name, if a secret can have it. Raises ValueError."""
    check_env_key(name)
    if name == CLONE_PASSWORD:
        raise ValueError(
            f"{name} is for fetching the source of one pipeline; store it with "
            f"'rapidflow secret set {name} --pipeline ID', no build is given it"
        )
    # Shells take their own variables only from a command line, which others can read.
    if name in OWN_OF_SHELLS or name == "CI" or name.startswith("RAPIDFLOW_"):
        raise ValueError(f"{name} is a variable that every build has; name the secret otherwise")
    return name

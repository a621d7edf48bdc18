"""Loads neural-tangents 0.6.5, the independent reference, on current JAX.

`load()` returns the module. Its last release (2024) predates JAX 0.6, where a plain
import fails. Here its source runs with an import statement of its own: what it asks
of JAX and SciPy by a removed name is answered with a stand-in. JAX, SciPy and
`sys.modules` are never modified, so other code and threads see nothing, and after
`load()` an ordinary `import neural_tangents` finds the working module.

Works, and is tested: `stax`, `predict`, `batch`, `monte_carlo_kernel_fn`,
`empirical_*` with implementations 0 to 3, `linearize`, `taylor_expand`; on JAX 0.6.2,
0.7.2, 0.8.3, 0.9.2, 0.10.2, 0.12.0.1 and Python 3.11, 3.13, by one code path.
Does not work: `neural_tangents.experimental`, a TensorFlow front end, which is an
empty module here (TensorFlow is never imported); `empirical_ntk_fn` with
implementation 3 where a primitive has several outputs (`jnp.split`); a function of
`predict` that has been called first under `jit` and then outside (it caches traced
kernels: make a new one). Its consistency checks under `jax_enable_checks` are off.

Why each stand-in exists:

* `jax.core`: `Jaxpr`, `JaxprEqn`, `Literal`, `Primitive`, `Var` moved to
  `jax.extend.core` (JAX 0.6); `DShapedArray` is gone (0.8); `eval_context` is there
  but rejects a traced kernel (0.6.2), which `ensure_compile_time_eval` accepts.
* `jax.util`: `safe_map`, `safe_zip` are gone (0.7).
* `jax.interpreters.ad`: `config` and `source_info_util` are gone (by 0.6.2), as is
  `zeros_like_p` (0.9).
* `jax.numpy`: `size` of a `ShapeDtypeStruct` and `dtype` of an array are deprecated
  (0.7, 0.8).
* `scipy.linalg.eigvalsh`: `eigvals` became `subset_by_index` (SciPy 1.14); used by
  `predict.max_learning_rate`.
* Implementation 3 is built on `ad.linearize`, whose signature changed (0.10), on
  `ad.reducing_transposes` (gone in 0.10) and on transpose rules by primitive, of which
  JAX withdraws more with each release (`slice` by 0.10, `gather` by 0.12): rebuilt
  from `jax.linearize` and `jax.linear_transpose`.
* Implementation 0 reads a compiled cost analysis as a list; it is a dict (by 0.6.2).

Reference: Novak et al. 2020, arXiv:1912.02803; Novak et al. 2022, arXiv:2206.08720.
"""

import builtins
import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import math
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.extend.core
import jax.interpreters.ad
import jax.numpy as jnp
import scipy
import scipy.linalg

from theory.errors import InputError

_NAME = "neural_tangents"
_LOCK = threading.Lock()


def load() -> types.ModuleType:
    """Returns the `neural_tangents` module, loading it at the first call.

    Thread-safe; every call returns the same module. One that other code has already
    imported by its own means is returned as it is.

    Raises:
        InputError: if neural-tangents, or frozendict which it needs, is missing.
    """
    with _LOCK:
        if _NAME in sys.modules:
            return sys.modules[_NAME]
        _forget()
        finder = _Finder()
        sys.meta_path.insert(0, finder)
        try:
            module = importlib.import_module(_NAME)
            _rebuild_empirical(importlib.import_module(f"{_NAME}._src.empirical"))
        except ModuleNotFoundError as error:
            if error.name not in (_NAME, "frozendict"):
                raise
            raise InputError(
                f"`{error.name}` is not installed: run `pip install --no-deps "
                "neural-tangents frozendict` (without --no-deps, pip adds "
                "TensorFlow, which is not used)."
            ) from error
        finally:
            sys.meta_path.remove(finder)
        return module


def _forget() -> None:
    # A failed plain import leaves submodules that were run without stand-ins.
    for name in [name for name in sys.modules if name.startswith(f"{_NAME}.")]:
        del sys.modules[name]


class _StandIn:
    """Answers the names it is given, and passes every other one to `module`."""

    def __init__(self, module: types.ModuleType, **names: Any):
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds neural-tangents, less its TensorFlow front end."""

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != _NAME:
            return None
        if fullname == f"{_NAME}.experimental":
            return importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a module whose import statements go through `_import`."""

    def exec_module(self, module: types.ModuleType) -> None:
        # `exec` takes the built-ins of a module, the import function among them,
        # from its globals when they hold some.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level=0
) -> Any:
    # `import a.b` binds `a`, `from a.b import c` reads `a.b`.
    wanted = name if fromlist else name.partition(".")[0]
    stand_ins = _stand_ins()
    if level == 0 and wanted in stand_ins:
        if name not in stand_ins:
            importlib.import_module(name)
        return stand_ins[wanted]
    return builtins.__import__(name, globals, locals, fromlist, level)


@functools.cache
def _stand_ins() -> dict[str, Any]:
    moved = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
    core = _StandIn(
        jax.core,
        **{name: getattr(jax.extend.core, name) for name in moved},
        DShapedArray=type("DShapedArray", (), {}),
        eval_context=jax.ensure_compile_time_eval,
    )
    ad = _StandIn(
        jax.interpreters.ad,
        zeros_like_p=object(),  # the key of a rule that no equation can ask for
        config=types.SimpleNamespace(jax_enable_checks=False),
        source_info_util=types.SimpleNamespace(
            transform_name_stack=lambda name: contextlib.nullcontext()
        ),
    )
    interpreters = _StandIn(jax.interpreters, ad=ad)
    linalg = _StandIn(scipy.linalg, eigvalsh=_eigvalsh)
    return {
        "jax": _StandIn(jax, core=core, interpreters=interpreters),
        "jax.core": core,
        "jax.interpreters": interpreters,
        "jax.interpreters.ad": ad,
        "jax.util": types.SimpleNamespace(safe_map=_safe_map, safe_zip=_safe_zip),
        "scipy": _StandIn(scipy, linalg=linalg),
    }


def _safe_map(f: Callable, *xs: Any) -> list:
    return [f(*args) for args in zip(*xs, strict=True)]


def _safe_zip(*xs: Any) -> list:
    return list(zip(*xs, strict=True))


def _eigvalsh(a: Any, *, eigvals: Any = None, **options: Any) -> Any:
    return scipy.linalg.eigvalsh(a, subset_by_index=eigvals, **options)


def _rebuild_empirical(empirical: Any) -> None:
    """Replaces what `empirical` uses at run time and JAX has outgrown."""
    empirical.jnp = _StandIn(
        jnp, dtype=jnp.result_type, size=lambda x: math.prod(jnp.shape(x))
    )
    empirical._get_primals_out_and_pullback = functools.partial(
        _primals_out_and_pullback, empirical._backward_pass
    )
    empirical._eqn_vjp_fn = _eqn_vjp
    empirical._get_flops = _flops


def _primals_out_and_pullback(
    backward_pass: Callable, fn: Callable, mode: Any, j_rules, s_rules, fwd, *primals
) -> tuple[Any, Callable]:
    """Returns `fn(*primals)` and a pullback that runs on its linear equations."""
    with jax.disable_jit():  # the rules are by primitive; a nested `jit` hides them
        primals_out, jvp = jax.linearize(fn, *primals)
        linear = jax.make_jaxpr(jvp)(*primals)

    def pullback(*cotangents):
        invars = linear.jaxpr.invars
        collected = backward_pass(
            linear.jaxpr,
            mode=mode,
            consts=linear.consts,
            primals_in=[jax.interpreters.ad.UndefinedPrimal(v.aval) for v in invars],
            cotangents_in=tuple(jax.tree.leaves(cotangents)),
            _j_rules=j_rules,
            _s_rules=s_rules,
            _fwd=fwd,
        )
        return jax.tree.unflatten(jax.tree.structure(primals), collected)

    return primals_out, pullback


def _eqn_vjp(eqn: Any, cotangent: Any, *invals: Any) -> Any:
    """Returns the cotangents of the linear inputs of `eqn`, `None` for the others."""
    if eqn is None:  # how neural-tangents writes the identity
        return (cotangent,)
    if isinstance(cotangent, jax.interpreters.ad.Zero):
        return [jax.interpreters.ad.Zero(v.aval) for v in eqn.invars]
    linear = {
        i: jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype)
        for i, v in enumerate(invals)
        if jax.interpreters.ad.is_undefined_primal(v)
    }

    def apply(args):
        merged = [args.get(i, v) for i, v in enumerate(invals)]
        out = eqn.primitive.bind(*merged, **eqn.params)
        return out[0] if eqn.primitive.multiple_results else out

    (cotangents,) = jax.linear_transpose(apply, linear)(cotangent)
    return [cotangents.get(i) for i in range(len(invals))]


def _flops(f: Callable, optimize: bool, *args: Any, **kwargs: Any) -> float:
    lowered = jax.jit(f).lower(*args, **kwargs)
    analysis = (lowered.compile() if optimize else lowered).cost_analysis()
    return (analysis or {}).get("flops", 0.0)  # not every backend counts

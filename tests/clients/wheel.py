"""Makes a wheel of a package that holds nothing (PEP 427)."""

import sys
import zipfile

INFO = "matrixpkg-1.0.dist-info"
with zipfile.ZipFile(f"{sys.argv[1]}/matrixpkg-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("matrixpkg.py", "print('matrix-ok')\n")
    wheel.writestr(f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: matrixpkg\nVersion: 1.0\n")
    wheel.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    files = ["matrixpkg.py", f"{INFO}/METADATA", f"{INFO}/WHEEL", f"{INFO}/RECORD"]
    wheel.writestr(f"{INFO}/RECORD", "".join(f"{name},,\n" for name in files))

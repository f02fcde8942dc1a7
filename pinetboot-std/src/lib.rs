//! pinetboot (docs follow)

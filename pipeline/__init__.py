"""TriMask, the nets: train both, run them over photos, export weights."""

import os
import warnings

# Read when torch is loaded: threads that wait by spinning take the cores from whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# fastai's, at every import of it, in every worker process; no user can do anything about it.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

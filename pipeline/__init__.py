"""TriMask, the nets: train both, run them over photos, export weights."""

import warnings

# fastai's, at every import of it, in every worker process; no user can do anything about it.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

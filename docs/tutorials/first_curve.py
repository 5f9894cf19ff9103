# %% [markdown]
# # Your first curve
#
# A stub: $\phi_\theta(t)$.

# %%
import jax
import matplotlib.pyplot as plt

print(jax.devices())
plt.plot([1, 2])
